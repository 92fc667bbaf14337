"""lint: each thing that goes wrong in the field, made on purpose; and silence where nothing is wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.cli.main import app
from pennyweight.core.errors import BadRequest
from pennyweight.jobs.lint import LintResult, lint
from pennyweight.jobs.quantize import quantize
from tests.checkpoints.nearest_codes import Wish
from tests.checkpoints.test_calibrated import CASES, written
from tests.checkpoints.tiny_huggingface import write_huggingface

UP = "model.layers.0.mlp.up_proj"


def made(directory: Path, layout: str = "gptq", wish: Wish = Wish(group_size=8), family: str = "llama") -> Path:  # noqa: B008
    source = open_huggingface(write_huggingface(directory / "source", family))
    written(source, directory / "out", layout, wish)
    return directory / "out"


def edit(directory: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    stored = load_file(directory / "model.safetensors")
    change(stored)
    save_file(stored, directory / "model.safetensors")
    return directory


def edit_config(directory: Path, **changes: Any) -> Path:
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] |= changes
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def found(result: LintResult, check: str, level: str = "error") -> str:
    """The message of the one finding of that kind."""
    messages = [f.message for f in result.findings if (f.check, f.level) == (check, level)]
    assert len(messages) == 1, result.findings
    return messages[0]


@pytest.mark.parametrize(("layout", "wish"), CASES, ids=lambda case: str(case).removeprefix("Wish"))
def test_what_we_write_is_sound(layout: str, wish: Wish, tmp_path: Path) -> None:
    result = lint(str(made(tmp_path, layout, wish)), everything=True)
    assert result.sound, result.findings
    assert {f.check for f in result.findings} <= {"packing", "zero points"}
    assert {s.runtime for s in result.runtimes} >= {"vLLM", "transformers", "SGLang", "TGI", "llama.cpp"}


def test_experts_and_unquantized_models_are_sound(tmp_path: Path) -> None:
    assert lint(str(made(tmp_path / "a", "pack-quantized", family="qwen3_moe"))).findings == ()
    assert lint(str(made(tmp_path / "b", "pack-quantized", family="mixtral"))).findings == ()
    plain = lint("embedded", tensor_parallel=2)
    assert (plain.layout, plain.findings) == ("unquantized", ())


def test_zero_points_of_the_other_version_are_an_error(tmp_path: Path) -> None:
    wrong = edit_config(made(tmp_path, "gptq_v2"), checkpoint_format="gptq")
    assert "says version 1, but the zero points are version 2's" in found(lint(str(wrong)), "zero points")


def test_nan_and_zero_scales_are_found_by_name(tmp_path: Path) -> None:
    def spoil(stored: dict[str, Any]) -> None:
        stored[f"{UP}.scales"][0, :3] = np.nan
        stored[f"{UP}.scales"][1, :5] = 0
        stored["model.norm.weight"][7] = np.inf

    result = lint(str(edit(made(tmp_path), spoil)))
    assert {f.where: f.message for f in result.findings if f.check == "values"} == {
        "model.norm.weight": "1 numbers are NaN or infinite",
        f"{UP}.scales": "3 numbers are NaN or infinite",
    }
    assert found(result, "scales", "warning").startswith("5 scales are zero")


def test_act_order_and_groups_that_do_not_exist(tmp_path: Path) -> None:
    reverse = edit(made(tmp_path), lambda s: s.update({f"{UP}.g_idx": s[f"{UP}.g_idx"][::-1].copy()}))
    result = lint(str(reverse))
    assert "1 modules have their columns grouped in act-order" in found(result, "act-order", "warning")
    assert next(s.loads for s in result.runtimes if s.runtime == "vLLM") == "no"


@pytest.mark.torch
def test_static_activations_are_held_against_their_scales(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # NumPy has no E4M3

    directory = made(tmp_path, "float-quantized", Wish(per_tensor=True, input_scale=0.03125))
    assert lint(str(directory)).sound
    said = json.loads((directory / "config.json").read_text())["quantization_config"]["config_groups"]["group_0"]
    dynamic = {
        "group_0": said | {"input_activations": said["input_activations"] | {"dynamic": True, "strategy": "token"}}
    }
    unread = lint(str(edit_config(directory, config_groups=dynamic)))
    assert "14 modules have an input_scale that nobody reads" in found(unread, "static activations", "warning")
    edit_config(directory, config_groups={"group_0": said})
    stored = load_file(directory / "model.safetensors")
    del stored[f"{UP}.input_scale"]
    save_file(stored, directory / "model.safetensors")
    assert f"1 modules have no input_scale, but input_activations are static ({UP})" in found(
        lint(str(directory)), "static activations"
    )


def test_names_that_are_missing_unknown_or_of_another_shape(tmp_path: Path) -> None:
    def spoil(stored: dict[str, Any]) -> None:
        del stored["model.layers.1.input_layernorm.weight"]
        stored["model.layers.1.surprise.weight"] = np.ones((4, 4), np.float32)
        stored["model.norm.weight"] = np.ones(33, np.float32)

    result = lint(str(edit(made(tmp_path), spoil)))
    assert "input_layernorm" in found(result, "missing")
    assert "surprise" in found(result, "unexpected")
    assert "(33,), config.json implies (32,)" in found(result, "shape")


def test_packed_tensors_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    cut = edit(made(tmp_path), lambda s: s.update({f"{UP}.scales": s[f"{UP}.scales"][:-1].copy()}))
    assert "the rest of its module implies" in found(lint(str(cut)), "packed tensors")


def test_ignore_is_held_against_the_modules(tmp_path: Path) -> None:
    directory = made(tmp_path, "pack-quantized")
    missing = lint(str(edit_config(directory, ignore=["lm_head", "model.vision_tower", "re:.*norm$"])))
    assert missing.sound
    assert [f.where for f in missing.findings] == ["model.vision_tower"]
    quantized = lint(str(edit_config(directory, ignore=["lm_head", UP])))
    assert f"names 1 modules that are quantized: {UP}" in found(quantized, "ignore")
    several = lint(str(edit_config(directory, ignore=["re:.*layers\\.(5|6)\\..*proj$", "re:lm_.*"])))
    assert [f.level for f in several.findings] == ["warning"]


@pytest.mark.parametrize(
    "expression", ["(a+)+$", "(a|a)*b", ".*.*.*.*.*b", "a?a?a?a?a?a?b", "(a|a)(a|a)(a|a)(a|a)(a|a)b", "("]
)
def test_an_expression_that_could_take_very_long_is_not_evaluated(expression: str, tmp_path: Path) -> None:
    directory = edit_config(made(tmp_path, "pack-quantized"), ignore=[f"re:{expression}"])
    edit(directory, lambda stored: stored.update({f"{'a' * 200}.weight": np.ones((4, 4), np.float32)}))
    result = lint(str(directory))
    assert "not evaluated" in found(result, "ignore", "note")
    assert not [f for f in result.findings if (f.check, f.level) == ("ignore", "error")]  # who knows what it names


def test_a_plain_layer_that_ignore_does_not_name_is_an_error(tmp_path: Path) -> None:
    def unpack(stored: dict[str, Any]) -> None:
        for name in [name for name in stored if name.startswith(UP)]:
            del stored[name]
        stored[f"{UP}.weight"] = np.ones((48, 32), np.float32)

    result = lint(str(edit(made(tmp_path, "pack-quantized"), unpack)))
    assert f"1 linear layers are neither quantized nor named by ignore: {UP}" in found(result, "ignore")


def test_tensor_parallel_ranks_must_cut_between_groups(tmp_path: Path) -> None:
    directory = str(made(tmp_path, wish=Wish(group_size=16)))
    assert lint(directory, tensor_parallel=2).sound is False  # 48 columns of down_proj / 2 = 24, groups of 16
    message = found(lint(directory, tensor_parallel=2), "tensor parallel")
    assert "48 columns / 2 = 24 is no whole number of groups of 16 (model.layers.0.mlp.down_proj" in message
    assert lint(directory, tensor_parallel=1).sound
    odd = made(tmp_path / "odd", "pack-quantized", Wish(bits=3, group_size=8, symmetric=False))
    cut = [f.message for f in lint(str(odd), tensor_parallel=2).findings if f.check == "tensor parallel"]
    assert any("32 rows / 2 is no multiple of 32" in message for message in cut), cut  # 16 zero points fill 1.5 words
    with pytest.raises(BadRequest, match="at least 1 rank"):
        lint(directory, tensor_parallel=0)


def test_rotations_at_run_time_are_an_error(tmp_path: Path) -> None:
    directory = edit_config(made(tmp_path, "pack-quantized"), transform_config={"config_groups": {"R4": {}}})
    assert "garbage" in found(lint(str(directory)), "transforms")


def test_files_that_cannot_be_opened_are_findings_not_tracebacks(tmp_path: Path) -> None:
    directory = made(tmp_path)
    os.truncate(directory / "model.safetensors", 1000)
    result = lint(str(directory))
    assert (result.sound, result.layout) == (False, "unreadable")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00")
    assert not lint(str(tmp_path / "cut.gguf")).sound


@pytest.mark.slow
def test_a_gguf_is_sound_until_a_scale_is_nan(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    quantize("embedded", "Q4_0", path)
    result = lint(str(path), everything=True)
    assert (result.sound, result.layout) == (True, "GGUF")
    data = bytearray(path.read_bytes())
    data[-18 * 100 : -18 * 100 + 2] = np.float16(np.nan).tobytes()  # a Q4_0 block's scale
    path.write_bytes(data)
    spoiled = lint(str(path), everything=True)
    assert "32 numbers are NaN" in found(spoiled, "values")


def test_the_command_exits_1_on_an_error_and_prints_one_object(tmp_path: Path) -> None:
    directory = made(tmp_path)
    good = CliRunner().invoke(app, ["lint", str(directory), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout)["sound"] is True
    bad = CliRunner().invoke(app, ["lint", str(edit_config(directory, checkpoint_format="gptq_v2")), "--json"])
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["findings"][0]["check"] == "zero points"
