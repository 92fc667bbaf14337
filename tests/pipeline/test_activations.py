"""Which checkpoints round activations, and where."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pennyweight.checkpoints.activations import Inputs, StatedInputs, stated_inputs
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.core.errors import FormatError
from pennyweight.jobs.notes import inputs_note
from pennyweight.methods.activations import fp8_per_token, int8_per_token
from pennyweight.methods.llm_int8 import mixed_activations
from pennyweight.pipeline.activations import activation_hooks
from tests.checkpoints.nearest_codes import Wish
from tests.checkpoints.test_calibrated import written
from tests.checkpoints.tiny_huggingface import write_huggingface

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

ROUNDED = {"int-quantized": int8_per_token, "float-quantized": fp8_per_token, "bitsandbytes": mixed_activations}
USUAL = Wish()
X = torch.from_numpy(np.random.default_rng(5).standard_normal((4, 32), np.float32) * 3)


def made(directory: Path, layout: str, wish: Wish = USUAL) -> Checkpoint:
    written(open_huggingface(write_huggingface(directory / "source", "mixtral")), directory / "out", layout, wish)
    return open_huggingface(directory / "out")


@pytest.mark.parametrize("layout", ["gptq", "awq", "pack-quantized"])
def test_weights_alone_have_no_hook(layout: str, tmp_path: Path) -> None:
    checkpoint = made(tmp_path, layout)
    assert activation_hooks(checkpoint).linear_input is None
    assert inputs_note(checkpoint, in_llama_cpp=False) is None
    assert activation_hooks(open_huggingface(tmp_path / "source")).linear_input is None


@pytest.mark.parametrize("layout", ROUNDED)
def test_the_quantized_layers_are_rounded_and_nothing_else(layout: str, tmp_path: Path) -> None:
    checkpoint = made(tmp_path, layout)
    hook = activation_hooks(checkpoint).linear_input
    assert hook is not None
    for name in ("output.weight", "blk.0.ffn_gate_inp.weight"):
        assert torch.equal(hook(name, None, X), X)
    found = hook("blk.0.attn_q.weight", None, X)
    assert torch.equal(found, ROUNDED[layout](X))
    assert torch.equal(hook("blk.0.ffn_gate_exps.weight", 1, X), found)
    assert not torch.equal(found, X)
    assert "as its configuration wants" in (inputs_note(checkpoint, in_llama_cpp=False) or "")
    assert "flatters" in (inputs_note(checkpoint, in_llama_cpp=True) or "")


def test_outliers_begin_where_the_configuration_says(tmp_path: Path) -> None:
    checkpoint = replace(made(tmp_path, "bitsandbytes"), inputs=StatedInputs(kind=Inputs.LLM_INT8, threshold=2.0))
    hook = activation_hooks(checkpoint).linear_input
    assert hook is not None
    assert torch.equal(hook("blk.0.attn_q.weight", None, X), partial(mixed_activations, threshold=2.0)(X))


def test_static_scales_are_those_that_are_stored(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, "float-quantized", Wish(input_scale=0.03125))
    hook = activation_hooks(checkpoint).linear_input
    assert hook is not None
    assert torch.equal(hook("output.weight", None, X), X)
    expected = ((X / 0.03125).clamp(-448, 448)).to(torch.float8_e4m3fn).float() * 0.03125
    assert torch.equal(hook("blk.0.attn_q.weight", None, X), expected)
    assert torch.equal(hook("blk.0.ffn_down_exps.weight", 3, X), expected)
    assert not torch.equal(expected, fp8_per_token(X))
    assert "one stored scale a layer, as its configuration wants" in (inputs_note(checkpoint, in_llama_cpp=False) or "")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_static_scale_that_is_no_scale_is_refused_by_name(scale: float, tmp_path: Path) -> None:
    made(tmp_path, "float-quantized", Wish(input_scale=0.03125))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    stored["model.layers.1.self_attn.v_proj.input_scale"][:] = scale
    save_file(stored, tmp_path / "out" / "model.safetensors")
    with pytest.raises(FormatError, match=r"blk\.1\.attn_v\.weight has input scales"):
        activation_hooks(open_huggingface(tmp_path / "out"))


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"type": "int", "num_bits": 8, "strategy": "token", "dynamic": True}, Inputs.INT8),
        ({"type": "float", "num_bits": 8, "strategy": "token", "dynamic": True}, Inputs.FP8),
        ({"type": "float", "num_bits": 8, "strategy": "tensor", "dynamic": False}, Inputs.FP8_STATIC),
        ({"type": "float", "num_bits": 8, "strategy": "tensor", "dynamic": 0}, Inputs.OTHER),
        ({"type": "int", "num_bits": 8, "strategy": "tensor", "dynamic": False}, Inputs.OTHER),
        ({"type": "int", "num_bits": 4, "strategy": "token", "dynamic": True}, Inputs.OTHER),
        ({"type": "int", "num_bits": 8, "strategy": "group", "dynamic": True}, Inputs.OTHER),
        ({"type": [8], "num_bits": {}, "strategy": "token", "dynamic": True}, Inputs.OTHER),
        ({"dynamic": "local"}, Inputs.OTHER),
    ],
    ids=str,
)
def test_what_a_strangers_configuration_says_of_inputs(inputs: dict[str, Any], kind: Inputs) -> None:
    said = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"input_activations": inputs}}}
    assert stated_inputs(said) == StatedInputs(kind=kind)
    mixed = {**said, "config_groups": {**said["config_groups"], "group_1": {"input_activations": None}}}
    assert stated_inputs(mixed) == StatedInputs(kind=Inputs.OTHER)
    assert stated_inputs({**said, "config_groups": [inputs]}) is None


@pytest.mark.parametrize("threshold", ["6", None, -1, float("nan"), True])
def test_a_threshold_that_is_none_is_the_usual_one(threshold: Any) -> None:
    said = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": threshold}
    assert stated_inputs(said) == StatedInputs(kind=Inputs.LLM_INT8, threshold=6.0)
