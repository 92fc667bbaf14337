"""The walk over a sweep's points: resumed from its journal, never stopped by one bad point."""

from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, OutputError
from pennyweight.evaluation.journal import Journal, key_of
from pennyweight.evaluation.sweep import Point, SweepRow, walk
from tests.report.cases import sweep_case

ROWS = {row.type: row for row in sweep_case().rows}
POINTS = [Point(type=type, key=key_of(type=type)) for type in ("Q8_0", "Q4_K_M", "Q2_K")]


def test_a_walk_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure(point: Point) -> SweepRow:
        measured.append(point.type)
        if measured == ["Q8_0", "Q4_K_M"]:
            raise KeyboardInterrupt
        return ROWS[point.type]

    with pytest.raises(KeyboardInterrupt):
        walk(POINTS, measure, Journal(tmp_path / "journal.jsonl", SweepRow))
    heard: list[tuple[str, bool]] = []
    rows, failures = walk(
        POINTS,
        measure,
        Journal(tmp_path / "journal.jsonl", SweepRow),
        lambda row, fresh: heard.append((row.type, fresh)),
    )
    assert measured == ["Q8_0", "Q4_K_M", "Q4_K_M", "Q2_K"]
    assert rows == tuple(ROWS[point.type] for point in POINTS), "numbers survive the journal exactly"
    assert heard == [("Q8_0", False), ("Q4_K_M", True), ("Q2_K", True)]
    assert failures == ()


def test_a_failed_point_is_reported_and_tried_again_next_time(tmp_path: Path) -> None:
    broken = {"Q4_K_M": OutputError("the disk is full"), "Q2_K": RuntimeError("a bug\nof two lines")}

    def measure(point: Point) -> SweepRow:
        if point.type in broken:
            raise broken[point.type]
        return ROWS[point.type]

    journal = tmp_path / "journal.jsonl"
    rows, failures = walk(POINTS, measure, Journal(journal, SweepRow))
    assert [row.type for row in rows] == ["Q8_0"]
    assert [(f.type, f.reason) for f in failures] == [
        ("Q4_K_M", "the disk is full"),
        ("Q2_K", "RuntimeError: a bug of two lines"),
    ]
    broken.clear()
    rows, failures = walk(POINTS, measure, Journal(journal, SweepRow))
    assert len(rows) == 3
    assert not failures


def test_where_every_point_fails_the_first_reason_is_raised(tmp_path: Path) -> None:
    def measure(point: Point) -> SweepRow:
        raise BadRequest(f"no {point.type}")

    with pytest.raises(BadRequest, match="no Q8_0"):
        walk(POINTS, measure, Journal(tmp_path / "journal.jsonl", SweepRow))


@pytest.mark.parametrize("damage", ['{"key": "', "not json", '{"row": {}}', '{"key": "k", "row": {"alien": 1}}', "[]"])
def test_a_damaged_line_costs_its_own_point_only(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, SweepRow).add("first", ROWS["Q8_0"])
    with path.open("a") as file:
        file.write(damage)
    journal = Journal(path, SweepRow)
    assert journal.find("first") == ROWS["Q8_0"]
    journal.add("second", ROWS["Q2_K"])
    again = Journal(path, SweepRow)
    assert again.find("first") == ROWS["Q8_0"]
    assert again.find("second") == ROWS["Q2_K"], "a cut line does not swallow the next one"


def test_a_row_is_found_under_its_own_key_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", SweepRow)
    journal.add(key_of(type="Q8_0", n_ctx=512), ROWS["Q8_0"])
    assert journal.find(key_of(n_ctx=512, type="Q8_0")) == ROWS["Q8_0"]
    assert journal.find(key_of(type="Q8_0", n_ctx=256)) is None


def test_a_journal_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(OutputError, match="cannot read the journal"):
        Journal(tmp_path / "journal.jsonl", SweepRow)
    journal = Journal(tmp_path / "gone" / "journal.jsonl", SweepRow)
    with pytest.raises(OutputError, match="cannot write the journal"):
        journal.add("key", ROWS["Q8_0"])


def test_a_loss_is_distinguishable_beyond_two_of_its_errors() -> None:
    row = replace(ROWS["Q8_0"], delta_ln_ppl=-0.021, delta_ln_ppl_stderr=0.01)
    assert row.is_distinguishable
    assert not replace(row, delta_ln_ppl=0.02).is_distinguishable
