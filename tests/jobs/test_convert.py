"""convert: the same codes in another layout, or a reason why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.core.errors import BadRequest, OutputError, UnknownName, UnsupportedModel
from pennyweight.jobs.convert import convert
from tests.checkpoints.nearest_codes import Wish
from tests.checkpoints.test_calibrated import written
from tests.checkpoints.tiny_huggingface import write_huggingface

SYMMETRIC, ASYMMETRIC = Wish(bits=4, group_size=8), Wish(bits=4, group_size=8, symmetric=False)
WAYS = [
    ("gptq", SYMMETRIC, "awq"),
    ("gptq", SYMMETRIC, "compressed-tensors"),
    ("gptq", Wish(bits=2, group_size=16), "gptq_v2"),
    ("gptq_v2", ASYMMETRIC, "awq"),
    ("gptq_v2", ASYMMETRIC, "compressed-tensors"),
    ("awq", ASYMMETRIC, "gptq_v2"),
    ("awq", SYMMETRIC, "gptq"),
    ("awq", ASYMMETRIC, "compressed-tensors"),
    ("pack-quantized", ASYMMETRIC, "awq"),
    ("pack-quantized", Wish(bits=8, group_size=0), "gptq"),
]


def checkpoint(directory: Path, layout: str, wish: Wish, family: str = "llama") -> Path:
    source = open_huggingface(write_huggingface(directory / "source", family))
    written(source, directory / layout, layout, wish)
    return directory / layout


def same_weights(one: Path, other: Path) -> None:
    for a, b in zip(open_huggingface(one).tensors, open_huggingface(other).tensors, strict=True):
        np.testing.assert_array_equal(a.read_rows(0, a.rows), b.read_rows(0, b.rows), err_msg=a.name)


def same_files(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    a, b = (json.loads((path / "config.json").read_text()) for path in (one, other))
    for config in (a, b):
        config["quantization_config"].pop("meta", None)  # how it was made differs
    assert a == b


@pytest.mark.parametrize(("layout", "wish", "to"), WAYS, ids=lambda case: str(case).removeprefix("Wish"))
def test_there_and_back_is_the_same_file(layout: str, wish: Wish, to: str, tmp_path: Path) -> None:
    first = checkpoint(tmp_path, layout, wish)
    there = convert(str(first), tmp_path / "there", to)
    assert there.modules == 14
    same_weights(first, tmp_path / "there")
    back = "compressed-tensors" if layout == "pack-quantized" else layout
    convert(str(tmp_path / "there"), tmp_path / "back", back)
    same_files(first, tmp_path / "back")


def test_experts_convert_one_by_one(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, "awq", ASYMMETRIC, "qwen3_moe")
    convert(str(first), tmp_path / "there", "compressed-tensors")
    same_weights(first, tmp_path / "there")


def test_what_would_have_to_be_rounded_is_refused(tmp_path: Path) -> None:
    for layout, wish, to, why in (
        ("gptq", Wish(bits=8, group_size=8), "awq", "4-bit integers, not INT8_G8"),
        ("int-quantized", SYMMETRIC, "gptq", "round activations too"),
        ("float-quantized", SYMMETRIC, "awq", "round activations too"),
        ("bitsandbytes", SYMMETRIC, "gptq", "round activations too"),
        ("pack-quantized", Wish(bits=5, group_size=8), "gptq", "not INT5_G8"),
    ):
        first = checkpoint(tmp_path / f"{layout}-{to}", layout, wish)
        with pytest.raises(BadRequest, match=why):
            convert(str(first), tmp_path / "out", to)
        assert not (tmp_path / "out").exists()


def test_act_order_cannot_be_said_elsewhere(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, "gptq", SYMMETRIC)
    stored = load_file(first / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.g_idx"
    stored[name] = stored[name][::-1].copy()
    save_file(stored, first / "model.safetensors")
    with pytest.raises(UnsupportedModel, match=r"layers\.1\.mlp\.up_proj.*act-order"):
        convert(str(first), tmp_path / "out", "awq")
    assert not (tmp_path / "out").exists()


def test_a_file_with_the_wrong_version_in_its_configuration_is_put_right(tmp_path: Path) -> None:
    first = checkpoint(tmp_path, "gptq_v2", SYMMETRIC)
    config = json.loads((first / "config.json").read_text())
    before = open_huggingface(first).tensors
    config["quantization_config"]["checkpoint_format"] = "gptq"
    (first / "config.json").write_text(json.dumps(config))
    for a, b in zip(before, open_huggingface(first).tensors, strict=True):
        np.testing.assert_array_equal(a.read_rows(0, a.rows), b.read_rows(0, b.rows))
    convert(str(first), tmp_path / "right", "gptq")
    zeros = load_file(tmp_path / "right" / "model.safetensors")["model.layers.0.mlp.up_proj.qzeros"]
    assert (zeros.view(np.uint32) == 0x77777777).all()


def test_requests_that_make_no_sense_say_so(tmp_path: Path) -> None:
    plain = write_huggingface(tmp_path / "plain")
    with pytest.raises(BadRequest, match="not a calibrated checkpoint"):
        convert(str(plain), tmp_path / "out", "awq")
    with pytest.raises(UnknownName, match="gptq_v2"):
        convert(str(plain), tmp_path / "out", "ggml")
    first = checkpoint(tmp_path, "awq", ASYMMETRIC)
    with pytest.raises(OutputError, match="not empty"):
        convert(str(first), plain, "gptq_v2")
