"""`pennyweight results`: what the measurement store holds."""

import shutil
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pennyweight.store.measurement import Measurement

WIDE, WHOLE = 110, 170
"""Columns of a terminal from which on the engine, and the protocol too, are shown."""


def results(
    model: Annotated[str | None, typer.Option(help="Only models whose name contains this.")] = None,
    type: Annotated[str | None, typer.Option(help="Only this file type or recipe.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric: perplexity, kld_mean, decode_tok_s …")] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="Only from this day or time (UTC) on.")] = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="At most so many, the newest.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F", help="Write to F.csv, F.json or F.md instead.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what was measured on this machine, or export it."""
    from pennyweight.jobs.results import ResultsFilter, export
    from pennyweight.jobs.results import results as job

    result = job(ResultsFilter(model=model, type=type, metric=metric, since=since, limit=limit))
    if output:
        export(result, output)
    if json:
        print_json(result)
    elif output:
        print(f"{output}: {len(result.rows)} measurements")
    else:
        _show(result.rows)
        print(f"{len(result.rows)} measurements in {result.store}")


def _show(rows: "tuple[Measurement, ...]") -> None:
    """A table as wide as the terminal allows: what ran it and how it was measured stand in wide ones."""
    if not rows:
        return
    width = shutil.get_terminal_size().columns
    table = [(row.model, row.type, row.metric, _value(row), row.when[:10], row.engine, row.protocol) for row in rows]
    columns = ("model", "type", "metric", "value", "day (UTC)", "engine", "protocol")
    shown = 5 + (width >= WIDE) + (width >= WHOLE)
    left = [name for name in columns if name != "value"]
    print_table("", columns[:shown], [cells[:shown] for cells in table], left=left)


def _value(row: "Measurement") -> str:
    """`1862 ± 13`: the error with two digits, the value with as many decimals as it."""
    if not row.stderr:
        return f"{row.value:.6g}"
    decimals = max(0, 1 - floor(log10(row.stderr)))
    return f"{row.value:,.{decimals}f} ± {row.stderr:,.{decimals}f}"
