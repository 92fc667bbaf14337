"""Files of strangers: tensors that contradict each other are refused in one line, before anything is allocated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import load_file, save_file

from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.core.errors import FormatError, PennyweightError, UnsupportedModel
from tests.checkpoints.nearest_codes import Wish
from tests.checkpoints.test_calibrated import written
from tests.checkpoints.tiny_huggingface import write_huggingface

UP = "model.layers.0.mlp.up_proj"
Stored = dict[str, Any]


def load(path: Path) -> Stored:
    """As `load_file`, which knows no FP8."""
    dtypes = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1"}
    dtypes["U8"] = "u1"
    found = dict(deserialize(path.read_bytes()))
    return {name: np.frombuffer(t["data"], dtypes[t["dtype"]]).reshape(t["shape"]) for name, t in found.items()}


def spoiled(directory: Path, layout: str, change: Callable[[Stored], Any], **configuration: Any) -> Path:
    wish = Wish(group_size=8, symmetric=layout not in ("awq", "pack-quantized"))
    source = open_huggingface(write_huggingface(directory / "source", "llama"))
    written(source, directory / "out", layout, wish)
    stored = load(directory / "out" / "model.safetensors")
    change(stored)
    save_file(stored, directory / "out" / "model.safetensors")
    config = json.loads((directory / "out" / "config.json").read_text())
    config["quantization_config"] |= configuration
    (directory / "out" / "config.json").write_text(json.dumps(config))
    return directory / "out"


def put(name: str, array: np.ndarray) -> Callable[[Stored], None]:
    def change(stored: Stored) -> None:
        stored[f"{UP}.{name}"] = array

    return change


def drop(name: str) -> Callable[[Stored], None]:
    return lambda stored: stored.pop(f"{UP}.{name}")


def nothing(stored: Stored) -> None:
    del stored


CASES: list[tuple[str, Callable[[Stored], Any], dict[str, Any], str]] = [
    ("gptq", drop("scales"), {}, "has no scales"),
    ("gptq", put("scales", np.ones((3, 48), np.float16)), {}, r"scales has shape \(3, 48\)"),
    ("gptq", put("qzeros", np.zeros((4, 5), np.int32)), {}, r"qzeros has shape \(4, 5\)"),
    ("gptq", put("qweight", np.zeros((4, 48), np.float32)), {}, "is F32 of shape"),
    ("gptq", put("g_idx", np.zeros(31, np.int32)), {}, "g_idx has shape"),
    ("gptq", nothing, {"bits": 7}, "bits is 7"),
    ("gptq", nothing, {"bits": True}, "bits is True"),
    ("gptq", nothing, {"group_size": 0}, "group_size is 0"),
    ("gptq", nothing, {"group_size": "128"}, "group_size is '128'"),
    ("gptq", nothing, {"dynamic": {".*": {"bits": 8}}}, "bits of their own"),
    ("gptq", nothing, {"dynamic": ["-:.*"]}, "dynamic is a list; wanted an object"),
    ("gptq", nothing, {"quant_method": "hqq"}, "quantized by 'hqq'; read here are gptq"),
    ("awq", nothing, {"group_size": 5}, "no whole groups of 5"),
    ("awq", nothing, {"version": "gemv"}, "version is 'gemv'"),
    ("awq", drop("qzeros"), {}, "has no qzeros"),
    ("pack-quantized", put("weight_shape", np.array([48, 2**40])), {}, "contradict each other"),
    ("pack-quantized", put("weight_shape", np.array([-48, 32])), {}, "contradict each other"),
    ("pack-quantized", put("weight_zero_point", np.zeros((5, 4), np.int32)), {}, "weight_zero_point has shape"),
    ("pack-quantized", put("weight_g_idx", np.zeros(32, np.int32)), {}, "act-order"),
    ("pack-quantized", nothing, {"config_groups": {}}, "no group of quantization_config fits"),
    ("pack-quantized", nothing, {"config_groups": None}, "no config_groups"),
    ("pack-quantized", nothing, {"transform_config": {"R4": {}}}, "transform_config"),
    ("int-quantized", put("weight_scale", np.ones((48, 2), np.float32)), {}, "weight_scale has shape"),
    ("int-quantized", put("weight", np.ones((48, 32), np.int16)), {}, "no packed, I8 or F8_E4M3 weight"),
    ("float-quantized", put("weight_scale", np.ones((6, 4), np.float32)), {}, "weight_scale has shape"),
    ("float-quantized", put("weight_scale", np.ones((48, 1), np.int32)), {}, "weight_scale is I32"),
    ("float-quantized", put("weight", np.ones((48, 32), np.uint8)), {}, "no packed, I8 or F8_E4M3 weight"),
    ("float-quantized", put("weight", np.ones((47, 32), np.int8)), {}, r"implies \(47, 1\)"),
    ("float-quantized", put("input_scale", np.ones(2, np.float32)), {}, "input_scale has shape"),
    ("float-quantized", put("input_scale", np.ones(1, np.int64)), {}, "input_scale is I64"),
    ("float-quantized", put("weight_zero_point", np.zeros((48, 1), np.int8)), {}, "zero points beside 8-bit"),
    ("bitsandbytes", put("SCB", np.ones(47, np.float32)), {}, "SCB has shape"),
    ("bitsandbytes", put("weight_format", np.array(2, np.uint8)), {}, "is not 0"),
    ("bitsandbytes", nothing, {"load_in_8bit": False}, "load_in_8bit is 'False'"),
]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}, {CASES[i][3]}")
def test_contradictions_are_refused_when_the_file_is_opened(number: int, tmp_path: Path) -> None:
    layout, change, configuration, message = CASES[number]
    directory = spoiled(tmp_path, layout, change, **configuration)
    with pytest.raises((FormatError, UnsupportedModel), match=message) as caught:
        open_huggingface(directory)
    assert "\n" not in str(caught.value)


def test_groups_that_do_not_exist_are_refused_when_they_are_read(tmp_path: Path) -> None:
    directory = spoiled(tmp_path, "gptq", put("g_idx", np.full(32, 99, np.int32)))
    tensor = next(t for t in open_huggingface(directory).tensors if t.name == "blk.0.ffn_up.weight")
    with pytest.raises(FormatError, match="names groups 99 … 99; there are 4"):
        tensor.read_rows(0, 1)


def test_act_order_is_read_though_no_other_layout_can_say_it(tmp_path: Path) -> None:
    def shuffle(stored: Stored) -> None:
        stored[f"{UP}.g_idx"] = np.arange(32, dtype=np.int32)[::-1].copy() // 8

    directory = spoiled(tmp_path, "gptq", shuffle)
    stored = load_file(directory / "model.safetensors")
    words, scale = stored[f"{UP}.qweight"].view(np.uint32), stored[f"{UP}.scales"].astype(np.float32)
    expected = np.array(
        [
            [scale[3 - j // 8, i] * (float(words[j // 8, i] >> (4 * (j % 8)) & 15) - 8) for j in range(32)]
            for i in range(48)
        ],
        np.float32,
    )
    tensor = next(t for t in open_huggingface(directory).tensors if t.name == "blk.0.ffn_up.weight")
    np.testing.assert_array_equal(tensor.read_rows(0, 48), expected)


def test_padded_words_of_older_compressed_tensors_are_told_apart(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    written(source, tmp_path / "out", "pack-quantized", Wish(bits=3, group_size=8))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    stored[f"{UP}.weight_packed"] = np.zeros((48, 4), np.int32)  # 10 codes a word: 32 columns take 4, densely 3
    save_file(stored, tmp_path / "out" / "model.safetensors")
    with pytest.raises(UnsupportedModel, match=r"padded to whole codes a word.*before\s+0\.17"):
        open_huggingface(tmp_path / "out")


def test_every_cut_of_a_file_is_one_line(tmp_path: Path) -> None:
    directory = spoiled(tmp_path, "pack-quantized", nothing)
    data = (directory / "model.safetensors").read_bytes()
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        (directory / "model.safetensors").write_bytes(data[:length])
        with pytest.raises(PennyweightError):
            open_huggingface(directory)
