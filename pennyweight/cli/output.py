"""How results are printed: one JSON object, or lines and tables for a person; results on stdout, nothing else there."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def print_json(result: Any, *, inline: str | None = None) -> None:
    """A result dataclass as exactly one JSON object on stdout; the fields of the one named `inline` beside its own."""
    fields = dataclasses.asdict(result)
    if inline:
        fields |= fields.pop(inline)
    print(json.dumps(fields, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # NumPy scalars
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a JSON result")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> None:
    """A table on stdout: numbers to the right, the columns named in `left` to the left; the last column may wrap."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold", no_wrap=name not in left)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
