"""Canonical tensors back in transformers' parameters: rows of heads, and experts in both of its layouts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.checkpoints.rows import reordered_heads
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.runtimes.torch_reference.fill import fill, transformers_order
from pennyweight.runtimes.torch_reference.model_config import model_config
from pennyweight.runtimes.torch_reference.placement import placements
from tests.checkpoints.tiny_huggingface import CLASSES, Tensors, fused_experts, tensors, write_huggingface

LAYOUTS = {"as saved": lambda stored: stored, "fused experts": fused_experts}
CASES = [*((family, "as saved") for family in CLASSES), ("mixtral", "fused experts"), ("qwen3_moe", "fused experts")]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(heads=st.integers(1, 5), half=st.integers(1, 9), columns=st.integers(1, 4))
def test_the_order_of_heads_is_undone(heads: int, half: int, columns: int) -> None:
    rows = np.arange(heads * 2 * half * columns, dtype=np.float32).reshape(-1, columns)
    there = reordered_heads(lambda start, stop: rows[start:stop].view(np.uint8), 2 * half)(0, len(rows))
    np.testing.assert_array_equal(transformers_order(there.view(np.float32), 2 * half), rows)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(("model_type", "layout"), CASES)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_parameter_gets_its_own_numbers_back(model_type: str, layout: str, threads: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    stored = tensors(model_type)
    checkpoint = open_checkpoint(str(write_huggingface(tmp_path / "model", model_type, stored=stored)))
    wanted: Tensors = LAYOUTS[layout](stored)
    for name, placed in found_for(checkpoint, wanted).items():
        parameter = torch.full(wanted[name].shape, torch.nan)
        fill(parameter, placed, threads)
        np.testing.assert_array_equal(parameter.numpy(), wanted[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.torch
def test_a_bias_that_the_file_leaves_out_beside_others_is_zero(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    stored = tensors("llama")
    stored["model.layers.0.self_attn.q_proj.bias"] = np.arange(32, dtype=np.float32)
    checkpoint = open_checkpoint(str(write_huggingface(tmp_path / "model", stored=stored)))
    parameters = stored | {"model.layers.0.self_attn.o_proj.bias": np.ones(32, np.float32)}
    found = found_for(checkpoint, parameters)
    for part, expected in (("q", stored["model.layers.0.self_attn.q_proj.bias"]), ("o", np.zeros(32, np.float32))):
        parameter = torch.full((32,), torch.nan)
        fill(parameter, found[f"model.layers.0.self_attn.{part}_proj.bias"], 1)
        np.testing.assert_array_equal(parameter.numpy(), expected)


def test_what_is_missing_and_what_has_no_place_is_said_by_name(tmp_path: Path) -> None:
    stored = tensors("qwen3")
    checkpoint = open_checkpoint(str(write_huggingface(tmp_path / "model", "qwen3", stored=stored)))
    with pytest.raises(UnsupportedModel, match=r"no place for model\.layers\.0\.mlp\.adapter\.weight"):
        found_for(checkpoint, stored | {"model.layers.0.mlp.adapter.weight": np.zeros(1, np.float32)})
    lacking = {t.name: t for t in checkpoint.tensors if "attn_k_norm" not in t.name}
    with pytest.raises(
        FormatError, match=r"lacks blk\.0\.attn_k_norm\.weight, blk\.1\.attn_k_norm\.weight, which a qwen3"
    ):
        placements(model_config(checkpoint), lacking, shapes(stored))


def found_for(checkpoint: Checkpoint, parameters: Tensors) -> dict:
    return placements(model_config(checkpoint), {t.name: t for t in checkpoint.tensors}, shapes(parameters))


def shapes(parameters: dict[str, NDArray[np.float32]]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in parameters.items()}
