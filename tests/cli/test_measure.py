"""The measuring verbs on the command line: the contract's keys, exit codes and one-line refusals."""

import csv
import json
import sys
from pathlib import Path

import pytest

from pennyweight.cli.main import main
from pennyweight.cli.sweep import finish
from pennyweight.store.database import open_store
from tests.report.cases import failed_case, sweep_case
from tests.store.test_database import ONE
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pennyweight", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("place")
    write_tiny_gguf(directory / "base.gguf")
    write_tiny_gguf(directory / "q8.gguf", format="Q8_0")
    write_tiny_gguf(directory / "other.gguf", vocabulary=400)
    (directory / "text.txt").write_text(TINY_TEXT)
    (directory / "short.txt").write_text("a few words\n")
    return directory


def _common(place: Path) -> list[str]:
    return ["--text", str(place / "text.txt"), "-c", "64", "--chunks", "3", "-t", "1"]


@pytest.mark.slow
def test_perplexity_as_json_has_the_contract_s_keys(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["perplexity", str(place / "base.gguf"), *_common(place), "--json"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"perplexity", "stderr", "tokens", "engine"} <= result.keys()
    assert result["tokens"] == 3 * 31
    assert run(["perplexity", str(place / "base.gguf"), *_common(place)], monkeypatch) == 0
    assert f"perplexity {result['perplexity']:.4f} ± {result['stderr']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_compare_says_no_past_the_threshold_and_prints_all_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(place / "base.gguf"), str(place / "q8.gguf"), *_common(place)]
    assert run([*arguments, "--json", "--max-kld", "1"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    keys = "kld_mean kld_stderr kld_median kld_p99 same_top delta_ln_ppl delta_ln_ppl_stderr perplexity base_perplexity"
    assert set(keys.split()) <= result.keys()
    assert "divergence" not in result
    assert run([*arguments, "--json", "--max-kld", "0"], monkeypatch) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["kld_mean"] == result["kld_mean"]
    assert captured.err.count("\n") == 1
    assert "wanted at most 0" in captured.err
    monkeypatch.setenv("COLUMNS", "80")
    assert run(arguments, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "noise floor" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.slow
def test_sweep_as_json_has_the_contract_s_rows(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sweep", str(place / "base.gguf"), *_common(place), "--types", "Q8_0, q4_k_m", "-o", str(tmp_path)]
    assert run([*arguments, "--json", "-p", "16", "-n", "4", "-r", "1"], monkeypatch) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["type"] for row in result["rows"]] == ["Q8_0", "Q4_K_M"]
    keys = "type bytes bits_per_weight prompt_tok_s decode_tok_s perplexity stderr delta_ln_ppl kld_mean"
    assert all(set(keys.split()) <= row.keys() for row in result["rows"])
    assert all(Path(name).is_file() for name in result["files"])


def test_a_sweep_with_a_failed_level_is_shown_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pennyweight.jobs.demo.demo", lambda directory: failed_case())
    assert run(["demo", "--json"], monkeypatch) == 2
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["rows"]) == 6
    assert captured.err == "pennyweight: 1 of 7 levels failed, the others stand: Q2_K: the disk is full\n"


@pytest.mark.parametrize("width", [80, 120])
def test_a_sweep_is_shown_within_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    finish(sweep_case(texts=True, files=("out/report.html",)), json=False)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert shown.splitlines()[-1] == "Report: out/report.html (12 min 34 s)"
    assert "It was a dark night" in shown


def test_results_are_listed_filtered_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results"], monkeypatch) == 0
    assert capsys.readouterr().out.startswith("0 measurements in ")
    with open_store() as store:
        store.record([ONE])
    assert run(["results", "--json", "--model", "EMB"], monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["metric"] == "kld_mean"
    assert run(["results", "--metric", "perplexity", "--json"], monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["results"], monkeypatch) == 0
    assert "0.01230 ± 0.00040" in capsys.readouterr().out
    assert run(["results", "-o", str(tmp_path / "out.csv")], monkeypatch) == 0
    assert len(list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["perplexity", "{base}"], "--text"),
        (["perplexity", "{base}", "--text", "{short}"], "needs at least 1024"),
        (["perplexity", "{base}", "--text", "nothing.txt"], "nothing.txt"),
        (["perplexity", "{base}", "--text", "{text}", "-c", "lots"], "32k"),
        (["perplexity", "{base}", "--text", "{text}", "--engine", "mlx"], "llama.cpp"),
        (["compare", "{base}", "{other}", "--text", "{text}", "-c", "64"], "vocabulary"),
        (["compare", "{text}", "{base}", "--text", "{text}", "-c", "64"], "neither a .gguf file nor"),
        (["sweep", "{base}", "--text", "{text}", "--types", "Q4_K_X", "-o", "out"], "Q4_K_M"),
        (["sweep", "{base}", "--text", "{text}", "--types", ",", "-o", "out"], "no level"),
        (["sweep", "{base}", "--text", "{short}", "-o", "out"], "needs at least 1024"),
        (["sweep", "{q8}", "--text", "{text}", "-o", "out"], "quantized already"),
        (["results", "-o", "out.xlsx"], "csv, json, md"),
    ],
)
@pytest.mark.slow
def test_a_bad_request_is_one_line_on_stderr_and_exit_2(
    arguments: list[str],
    named: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {name: place / f"{name}.gguf" for name in ("base", "q8", "other")}
    places |= {name: place / f"{name}.txt" for name in ("text", "short")}
    assert run([part.format(**places) for part in arguments], monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
