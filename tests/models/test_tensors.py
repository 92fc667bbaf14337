"""Planned tensors are those that a checkpoint of the same config really has."""

from pathlib import Path

import pytest

from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.models import catalogue
from pennyweight.models.config import config_from_json
from pennyweight.models.tensors import planned_tensors
from tests.checkpoints.tiny_huggingface import CLASSES, config, tensors, write_huggingface


@pytest.mark.parametrize("model_type", CLASSES)
def test_names_and_shapes_are_those_of_the_checkpoint_in_its_order(model_type: str, tmp_path: Path) -> None:
    real = open_huggingface(write_huggingface(tmp_path, model_type)).tensors
    planned = planned_tensors(config_from_json(config(model_type)))
    assert [(t.name, t.shape) for t in planned] == [(t.name, t.shape) for t in real]


def test_a_tied_output_is_no_tensor(tmp_path: Path) -> None:
    stored = {name: weight for name, weight in tensors("qwen3").items() if name != "lm_head.weight"}
    real = open_huggingface(write_huggingface(tmp_path, "qwen3", stored=stored, tie_word_embeddings=True)).tensors
    planned = planned_tensors(config_from_json(config("qwen3", tie_word_embeddings=True)))
    assert [t.name for t in planned] == [t.name for t in real]
    assert "output.weight" not in [t.name for t in planned]


def test_vectors_and_routers_are_f32_and_matrices_what_was_asked() -> None:
    formats = {t.name: t.format for t in planned_tensors(catalogue.get("Qwen3-30B-A3B").config, "BF16")}
    kept = {name for name, format in formats.items() if format == "F32"}
    assert kept == {name for name in formats if "norm" in name or "ffn_gate_inp" in name}
    assert set(formats.values()) == {"F32", "BF16"}


def test_llama_3_has_its_frequency_factors() -> None:
    first = planned_tensors(catalogue.get("Llama-3.2-1B").config)[0]
    assert (first.name, first.shape, first.format) == ("rope_freqs.weight", (32,), "F32")
