"""The table of a sweep: what it shows at which width, and that every form says the same."""

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from pennyweight.cli.output import print_table
from pennyweight.report.files import write_report
from pennyweight.report.headline import headline
from pennyweight.report.table import as_csv, as_markdown, columns_for, conclusion, paired, sentences
from tests.report.cases import failed_case, sweep_case


@pytest.mark.parametrize("width", [80, 100, 120, 150, 200])
def test_no_line_of_the_table_is_wider_than_the_terminal_and_no_cell_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = sweep_case()
    columns = columns_for(result.rows, width)
    rows = [[column.cell(row) for column in columns] for row in result.rows]
    print_table("", [column.head for column in columns], rows, left=["type"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width == Console().width
    for row in rows:
        assert any(all(cell in line for cell in row) for line in lines), f"{row} is whole on one line"


def test_a_wider_terminal_shows_more_and_the_narrowest_what_decides() -> None:
    rows = sweep_case().rows
    heads = {width: [column.head for column in columns_for(rows, width)] for width in (80, 100, 120, 150)}
    assert heads[80] == ["type", "size", "bits", "Δ ln ppl", "KLD", "prompt", "decode"]
    assert set(heads[80]) < set(heads[100]) < set(heads[120]) < set(heads[150])


def test_speeds_that_were_not_measured_have_no_column() -> None:
    heads = [column.head for column in columns_for(sweep_case(speeds=False).rows)]
    assert "decode" not in heads
    assert "prompt" not in heads


def test_a_loss_within_two_errors_is_marked_and_named() -> None:
    result = sweep_case()
    assert paired(result.rows[0]) == "≈ +0.0001 ± 0.0004"
    assert paired(result.rows[3]) == "+0.0078 ± 0.0012"
    assert "Q8_0, Q6_K." in conclusion(result)
    certain = replace(result, rows=result.rows[3:])
    assert conclusion(certain) == "Every level's perplexity differs from BF16 by more than two standard errors."


def test_the_headline_names_the_usual_choice_its_cost_with_error_and_the_cliff() -> None:
    said = headline(sweep_case())
    assert "Q4_K_M takes 59 % of Q8_0's bytes, writes 48 % faster" in said
    assert "0.8 ± 0.1 % above that of BF16" in said
    assert "from IQ4_XS to Q3_K_S, where the divergence grows 5.5-fold" in said
    one = replace(sweep_case(), rows=sweep_case().rows[:1])
    assert headline(one).startswith("Q8_0: perplexity 20.90, within the error")


def test_the_headline_names_no_speed_that_the_noise_could_have_made() -> None:
    quiet = sweep_case()
    noisy = replace(quiet, rows=tuple(replace(row, decode_stdev=row.decode_tok_s) for row in quiet.rows))
    assert "writes at a speed that this run cannot tell from its" in headline(noisy)
    assert "faster" not in headline(noisy)


def test_failures_and_synthetic_speeds_are_said() -> None:
    assert "Q2_K failed: the disk is full" in sentences(failed_case())
    result = sweep_case()
    made_up = replace(result, rows=tuple(replace(row, synthetic="0.19 G random weights") for row in result.rows))
    said = "* Speeds (tokens per second) are of a synthetic model, 238.7 MiB to 605.3 MiB: 0.19 G random weights."
    assert said in sentences(made_up)
    assert said in as_markdown(made_up)
    assert {"prompt*", "decode*"} <= {column.head for column in columns_for(made_up.rows)}
    assert "48 % faster (a synthetic model)" in headline(made_up)
    plain = next(line for line in sentences(result) if line.startswith("Speeds"))
    assert plain == "Speeds (tokens per second) are of the files themselves."
    large_cache = replace(result, provenance=replace(result.provenance, cache_bytes=512 << 20))
    assert any("such speeds say nothing of larger models" in line for line in sentences(large_cache))
    assert not any("Speeds" in line for line in sentences(sweep_case(speeds=False)))


def test_markdown_has_a_line_for_each_level_and_equal_cells_in_each() -> None:
    lines = as_markdown(sweep_case()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 7
    assert len({line.count("|") for line in table}) == 1


def test_csv_and_json_hold_every_number_unrounded(tmp_path: Path) -> None:
    result = sweep_case()
    written = {path.name: path for path in write_report(result, tmp_path)}
    assert set(written) == {
        "report.html",
        "sweep.md",
        "sweep.csv",
        "sweep.json",
        *(f"{name}.{kind}" for name in ("divergence", "loss", "speed") for kind in ("svg", "png")),
    }
    assert json.loads(written["sweep.json"].read_text()) == json.loads(json.dumps(asdict(result)))
    parsed = list(csv.DictReader(io.StringIO(written["sweep.csv"].read_text())))
    for line, row in zip(parsed, result.rows, strict=True):
        assert (line["type"], float(line["kld_mean"]), int(line["bytes"])) == (row.type, row.kld_mean, row.bytes)
    empty = list(csv.DictReader(io.StringIO(as_csv(sweep_case(speeds=False)))))
    assert empty[0]["decode_tok_s"] == ""
