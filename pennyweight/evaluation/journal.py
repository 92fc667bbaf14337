"""A journal of finished points in JSON lines, so that a run that was killed goes on where it stopped.

Each line is {"key": …, "row": {…}}. The key covers everything that the row depends on; a row under another key is not
found. A line is appended and synced when its point is done; a line that was cut by a kill, or that no longer reads
as a row, counts as absent, and its point is measured again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from pennyweight.core.errors import OutputError

Row = TypeVar("Row")


class Journal(Generic[Row]):
    """The rows of type `row_type` (a flat dataclass) in the file `path`, found by key."""

    def __init__(self, path: Path, row_type: type[Row], stands: Callable[[Row], bool] = lambda row: True) -> None:
        """Read what is there. `stands`: whether what a row tells of is still so; one that is not counts as absent.

        Raises: OutputError where the file exists and cannot be read.
        """
        self.path, self._rows, self._stands = path, dict[str, Row](), stands
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise OutputError(f"cannot read the journal {path}: {error.strerror}") from error
        for line in lines:
            try:
                entry = json.loads(line)
                self._rows[entry["key"]] = row_type(**entry["row"])
            except (ValueError, KeyError, TypeError):  # cut, or of another version: as the module says
                continue

    def find(self, key: str) -> Row | None:
        """The row of that key, or None."""
        row = self._rows.get(key)
        return row if row is not None and self._stands(row) else None

    def add(self, key: str, row: Row) -> None:
        """Append a row and wait until it is on the disk. Raises: OutputError."""
        self._rows[key] = row
        # The newline comes first too: it ends a line that a kill has cut.
        line = f"\n{json.dumps({'key': key, 'row': asdict(row)})}\n"  # type: ignore[call-overload]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write the journal {self.path}: {error.strerror}") from error


def key_of(**parts: Any) -> str:
    """32 hex digits of everything a result depends on; equal parts in any order give equal keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
