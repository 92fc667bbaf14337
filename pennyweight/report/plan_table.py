"""A plan's table: which columns a terminal of some width has room for, and what stands in each cell.

GiB on the card, tokens per second, seconds. A cell never says by colour what it does not say in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pennyweight.core.units import GIB, show_rate
from pennyweight.planner.plan import Plan, PlanRow
from pennyweight.planner.request import Runtime

GAPS = (2, 1)
"""Columns between cells; the narrower where names would lose their middle."""

NARROW, SMALL, USUAL, MIDDLE, WIDE = 0, 56, 76, 92, 112
"""Columns of a terminal from which on a column is shown."""

LEAST_MODEL = 8

GREEN, YELLOW, RED, BOLD, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its head, a row → its cell, the width from which on it is shown, words or a number."""

    head: str
    cell: Callable[[PlanRow], str]
    width: int = NARROW
    left: bool = False


LLAMA_CPP = (
    Column(head="model", cell=lambda row: row.model, left=True),
    Column(head="type", cell=lambda row: row.type, left=True),
    Column(head="weights", cell=lambda row: _at_most(row) + gib(row.card_weights_bytes), width=MIDDLE),
    Column(head="cache", cell=lambda row: _cache(row), width=USUAL),
    Column(head="other", cell=lambda row: gib(row.compute_bytes + row.overhead_bytes), width=WIDE),
    Column(head="total", cell=lambda row: _at_most(row) + gib(row.total_bytes)),
    Column(head="on card", cell=lambda row: _placement(row), left=True),
    Column(head="read/s", cell=lambda row: _at_least(row) + show_rate(row.prompt_tok_s), width=MIDDLE),
    Column(head="write/s", cell=lambda row: _at_least(row) + show_rate(row.decode_tok_s)),
    Column(head="first", cell=lambda row: seconds(row.first_token_seconds), width=WIDE),
    Column(head="all", cell=lambda row: seconds(row.seconds), width=USUAL),
    Column(head="quality", cell=lambda row: _quality(row), width=SMALL, left=True),
)
VLLM = (
    *LLAMA_CPP[:6],
    Column(head="requests", cell=lambda row: f"{row.requests}", width=SMALL),
    Column(head="fits", cell=lambda row: "yes" if row.fits else "no", left=True),
    *LLAMA_CPP[7:],
)

MARKS = {"measured": "", "published": "*", "heuristic": "~"}
"""Behind a quality that is not this model's own measurement on this machine."""


def table(plan: Plan, width: int, *, colour: bool = False) -> list[str]:
    """The lines of the table, none wider than `width`: the chosen row behind a `>`."""
    wanted = VLLM if plan.runtime == Runtime.VLLM.value else LLAMA_CPP
    columns = [column for column in wanted if column.width <= width]
    cells = [[column.cell(row) for column in columns] for row in plan.candidates]
    gap = next((gap for gap in GAPS if _room(cells, columns, width, gap) >= _longest(cells, 0)), GAPS[-1])
    room = max(_room(cells, columns, width, gap), LEAST_MODEL)
    cells = [[elided(row[0], room), *row[1:]] for row in cells]
    widths = [max(len(column.head), _longest(cells, i)) for i, column in enumerate(columns)]
    lines = ["  " + _line([column.head for column in columns], columns, widths, gap)]
    for row, texts in zip(plan.candidates, cells, strict=True):
        is_chosen = plan.chosen is not None and row == plan.chosen
        line = ("> " if is_chosen else "  ") + _line(texts, columns, widths, gap)
        lines.append(_coloured(line, row, is_chosen) if colour else line)
    return lines


def _line(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int], gap: int) -> str:
    padded = (
        text.ljust(size) if column.left else text.rjust(size)
        for text, column, size in zip(texts, columns, widths, strict=True)
    )
    return (" " * gap).join(padded).rstrip()


def _longest(cells: Sequence[Sequence[str]], column: int) -> int:
    return max((len(row[column]) for row in cells), default=0)


def _room(cells: Sequence[Sequence[str]], columns: Sequence[Column], width: int, gap: int) -> int:
    """Characters that the other columns leave to the model's name; its ends tell sizes and versions apart."""
    taken = sum(max(len(column.head), _longest(cells, i)) for i, column in enumerate(columns) if i)
    return width - 2 - taken - gap * (len(columns) - 1)


def elided(name: str, room: int) -> str:
    """`Qwen3-Coder-30B-A3B-Instruct` in 15 characters: `Qwen3-C…nstruct`."""
    if len(name) <= room:
        return name
    front = (room - 1 + 1) // 2
    return name[:front] + "…" + name[len(name) - (room - 1 - front) :]


def gib(nbytes: float) -> str:
    """`9.29`, `16.5`, `141`: three digits of GiB."""
    value = nbytes / GIB
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def seconds(value: float) -> str:
    """`0.8 s`, `58 s`, `3.2 min`, `1.5 h`, `never`."""
    if value >= 1e7 or value != value:
        return "never"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _at_most(row: PlanRow) -> str:
    """Before a size of which only bounds are known."""
    return "≤" if row.bounds else ""


def _at_least(row: PlanRow) -> str:
    """Before a speed of which only bounds are known."""
    return "≥" if row.bounds else ""


def _cache(row: PlanRow) -> str:
    """Its size, and its type where that is not the usual one."""
    size = ("≤" if row.kv_range else "") + gib(row.kv_bytes)
    if row.key_type.upper() in ("F16", "AUTO") and row.value_type.upper() in ("F16", "AUTO"):
        return size
    name = row.key_type if row.key_type == row.value_type else f"{row.key_type}/{row.value_type}"
    return f"{size} {name.lower()}"


def _placement(row: PlanRow) -> str:
    """Where the layers lie."""
    if row.layers_on_gpu == 0:
        return "in memory" if row.fits else "too large"
    if row.cpu_moe_layers:
        return f"−{row.cpu_moe_layers} experts"
    return "all" if row.layers_on_gpu >= row.layers else f"{row.layers_on_gpu}/{row.layers}"


def _quality(row: PlanRow) -> str:
    mark = "" if row.quality.same_model else MARKS.get(row.basis.quality, "")
    return row.quality.label + (mark if not row.quality.label.startswith("~") else "")


def _coloured(line: str, row: PlanRow, is_chosen: bool) -> str:
    """Green fits, yellow lies partly on the host, red not at all; the chosen row is bold."""
    tint = GREEN if row.fits else YELLOW if row.layers_on_gpu else RED
    return f"{BOLD if is_chosen else ''}{tint}{line}{PLAIN}"
