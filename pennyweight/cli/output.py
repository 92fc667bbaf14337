"""How results are printed: one JSON object, or lines and tables for a person; results on stdout, nothing else there."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def print_json(result: Any, *, inline: str | None = None) -> None:
    """A result dataclass as exactly one JSON object on stdout; the fields of the one named `inline` beside its own."""
    fields = dataclasses.asdict(result)
    if inline:
        fields |= fields.pop(inline)
    # In ASCII, because a string from a file that is not UTF-8 holds lone surrogates, which no stdout can encode.
    print(json.dumps(_plain(fields), ensure_ascii=True, allow_nan=False))


def _plain(value: Any) -> Any:
    """The value in what JSON has: paths are strings, NumPy scalars Python's, NaN and the infinities null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # NumPy scalars
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> None:
    """A table on stdout: numbers to the right, the columns named in `left` to the left; the last column may wrap.

    Every string is shown as it is: Rich would read the `[/INST]` of a chat template as markup.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in columns:
        justify = "left" if name in left else "right"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=name not in left)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
