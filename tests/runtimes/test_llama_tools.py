"""llama-bench from the PATH, played by a script that writes down its arguments and prints what the real one prints."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pennyweight.core.errors import BadRequest, FormatError, Missing
from pennyweight.runtimes.llama_tools import run_llama_bench
from pennyweight.runtimes.speed import SpeedSettings

ABOUT = {
    "build_commit": "abc1234",
    "build_number": 11549,
    "cpu_info": "A Processor",
    "gpu_info": "",
    "backends": "CPU",
    "model_type": "qwen3 8B Q4_K - Medium",
    "model_size": 5_021_000_000,
    "model_n_params": 8_190_735_360,
    "n_threads": 8,
}
TESTS = [
    ABOUT | {"n_prompt": 512, "n_gen": 0, "samples_ts": [100.0, 104.0]},
    ABOUT | {"n_prompt": 0, "n_gen": 128, "samples_ts": [10.5, 9.5]},
]


def put_on_path(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, prints: str, error: str = "", code: int = 0
) -> Path:
    """A program `llama-bench` alone on the PATH; the value is the file in which it writes its arguments."""
    program, seen = directory / "llama-bench", directory / "arguments.json"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(seen)!r}, 'w'))\n"
        f"print({prints!r})\nprint({error!r}, file=sys.stderr)\nsys.exit({code})\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return seen


def test_its_results_are_read_and_name_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, prints=json.dumps(TESTS))
    report = run_llama_bench(Path("model.gguf"), SpeedSettings())
    assert [(s.test, s.mean) for s in report.speeds] == [("pp512", 102.0), ("tg128", 10.0)]
    assert (report.tensor_bytes, report.parameters, report.threads) == (5_021_000_000, 8_190_735_360, 8)
    assert (report.build, report.backend) == ("b11549 (abc1234)", "CPU (A Processor)")
    assert report.instruction_set == "not reported"


def test_settings_become_its_arguments_and_defaults_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = put_on_path(tmp_path, monkeypatch, prints=json.dumps(TESTS))
    run_llama_bench(Path("model.gguf"), SpeedSettings())
    plain = json.loads(seen.read_text())
    assert plain[:4] == ["-m", "model.gguf", "-o", "json"]
    assert not {"-t", "-ngl", "-fa"} & set(plain)
    run_llama_bench(
        Path("model.gguf"), SpeedSettings(threads=4, gpu_layers=0, flash_attention=True, type_k="q8_0", n_ubatch=64)
    )
    asked = json.loads(seen.read_text())
    for flag, value in (("-t", "4"), ("-ngl", "0"), ("-fa", "1"), ("-ctk", "q8_0"), ("-ub", "64"), ("-r", "5")):
        assert asked[asked.index(flag) + 1] == value


def test_an_absent_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="llama-bench is not on the PATH"):
        run_llama_bench(Path("model.gguf"), SpeedSettings())


def test_its_failure_is_told_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, prints="", error="loading\nerror: failed to load model", code=1)
    with pytest.raises(BadRequest, match=r"exit 1\): error: failed to load model") as caught:
        run_llama_bench(Path("model.gguf"), SpeedSettings())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "printed",
    [
        "no JSON at all",
        "[]",
        "{}",
        "7",
        json.dumps([{**TESTS[0], "samples_ts": []}]),
        json.dumps([{**TESTS[0], "samples_ts": [True, "fast"]}]),
        json.dumps([{k: v for k, v in TESTS[0].items() if k != "model_size"}]),
    ],
)
def test_output_that_is_no_llama_bench_s_is_refused(
    printed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path, monkeypatch, prints=printed)
    with pytest.raises(FormatError, match="is it a llama-bench"):
        run_llama_bench(Path("model.gguf"), SpeedSettings())
