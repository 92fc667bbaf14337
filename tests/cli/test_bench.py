"""`pennyweight bench`: the contract's keys, llama-bench's table, bad requests."""

import json
from pathlib import Path

import pytest

from tests.cli.command import run
from tests.runtimes.test_llama_tools import TESTS, put_on_path
from tests.tiny_gguf import write_tiny_gguf


def test_json_has_the_contract_s_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_gguf(tmp_path / "model.gguf")
    put_on_path(tmp_path, monkeypatch, prints=json.dumps(TESTS))
    assert run(["bench", str(model), "--runtime", "llama-bench", "--json"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runtime"], result["bytes"]) == ("llama-bench", 5_021_000_000)
    assert [(r["test"], r["tokens_per_second"]) for r in result["rows"]] == [("pp512", 102.0), ("tg128", 10.0)]
    assert all({"stdev", "runtime", "build", "instruction_set"} <= row.keys() for row in result["rows"])


def test_the_table_is_llama_bench_s_and_every_row_says_what_ran_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_gguf(tmp_path / "model.gguf")
    seen = put_on_path(tmp_path, monkeypatch, prints=json.dumps(TESTS))
    assert run(["bench", str(model), "--runtime", "llama-bench", "-fa", "off", "-t", "4"], monkeypatch) == 0
    header, rule, *rows = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("model", "size", "params", "backend", "threads", "runtime", "instructions", "test", "t/s")
    ]
    assert set(rule) <= set("|-: ")
    assert {len(line) for line in (header, rule, *rows)} == {len(header)}
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0][:3] == ["qwen3 8B Q4_K - Medium", "4.68 GiB", "8.19 B"]
    assert [row[5:] for row in cells] == [
        ["llama-bench b11549 (abc1234)", "not reported", "pp512", "102.00 ± 2.83"],
        ["llama-bench b11549 (abc1234)", "not reported", "tg128", "10.00 ± 0.71"],
    ]
    arguments = json.loads(seen.read_text())
    assert arguments[arguments.index("-fa") + 1] == "0"


@pytest.mark.slow
def test_a_model_nobody_has_downloaded_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "embedded:Q4_K_M", "--synthetic", "-p", "8", "-n", "2", "-r", "1", "-t", "1"]
    assert run(arguments, monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "(synthetic)" in printed.out
    assert "± 0.00" in printed.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Qwen3-8B", "--synthetic"], "NAME:TYPE"),
        (["Qwen3-8B:Q4_K_M"], "--synthetic"),
        (["embedded", "--runtime", "vllm"], "llama-bench"),
        (["embedded:Q4_K_M", "--synthetic", "--runtime", "llama-bench"], "not on the PATH"),
        (["embedded", "-fa", "perhaps"], "on, off or auto"),
        (["embedded", "-r", "0"], "-r"),
        (["no-such-file.gguf"], "no-such-file.gguf"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *arguments], monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
