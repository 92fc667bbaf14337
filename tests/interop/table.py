"""docs/interop.md: its table is what the last `make test-interop` measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "interop.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: what, by whom with versions, |Δ log-probability| of a token."""

    case: str
    loader: str
    largest: float
    mean: float


def write_table(rows: Sequence[Row]) -> None:
    """Put the table between its marks."""
    text = PATH.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PATH.write_text(f"{before}{BEGIN}\n{table(rows)}{END}{after}", encoding="utf-8")


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = "| checkpoint | loader | largest \\|Δ ln p\\| | mean | date |\n|---|---|---|---|---|\n"
    today = date.today().isoformat()
    lines = (f"| {r.case} | {r.loader} | {r.largest:.4f} | {r.mean:.4f} | {today} |\n" for r in rows)
    return head + "".join(lines)
