"""The output directory of a sweep: of one model, used by one sweep at a time, and nothing in it lost that is not ours.

A level is made in a directory of its own inside, and moved to its place when it is measured. What a killed sweep left
of those is removed by the next one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.containers.atomic import lock
from pennyweight.core.errors import BadRequest, OutputError

JOURNAL = "journal.jsonl"
UNFINISHED = ".pennyweight-unfinished-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDirectory:
    """A directory, ours for the length of a sweep; `own_files`: names that sweeps wrote here, which are ours too."""

    path: Path
    own_files: frozenset[str]

    @property
    def journal(self) -> Path:
        """The finished levels, one a line."""
        return self.path / JOURNAL

    @contextmanager
    def workshop(self) -> Iterator[Path]:
        """A directory for a level's files until it is measured; it goes with all that is left in it."""
        try:
            workshop = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.path))
        except OSError as error:
            raise OutputError(f"cannot make a directory in {self.path}: {error.strerror}") from error
        try:
            yield workshop
        finally:
            shutil.rmtree(workshop, ignore_errors=True)

    def require_own(self, final: Path) -> None:
        """Raises: OutputError where something stands there that no sweep of this directory wrote."""
        if (final.exists() or final.is_symlink()) and final.name not in self.own_files:
            raise OutputError(f"{final} exists and is not of this directory's sweeps; remove it, or sweep into another")

    def publish(self, made: Path, final: Path) -> None:
        """Move a level's file or directory, which lies in a workshop, to its place. Raises: OutputError."""
        self.require_own(final)  # it may have come while we measured
        try:
            if final.is_dir() and not final.is_symlink():  # a rename replaces a file, but no directory that has files
                final.replace(made.with_name(f"old-{final.name}"))
            made.replace(final)
        except OSError as error:
            raise OutputError(f"cannot rename onto {final}: {error.strerror}") from error


@contextmanager
def sweep_directory(path: Path, model: str, fingerprint: str) -> Iterator[SweepDirectory]:
    """The directory, made where it is not there, for a sweep of `model`.

    Raises:
        OutputError: it cannot be made, read or written, or another sweep is using it.
        BadRequest: it holds a sweep of another model, whose report and files this one's would replace or join.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(f"cannot make the directory {path}: {error.strerror}") from error
    try:
        _lock(descriptor, path)
        rows = _rows(path / JOURNAL)
        _require_same_model(path, rows, model, fingerprint)
        for left in path.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield SweepDirectory(path=path, own_files=frozenset(Path(row["output"]).name for row in rows if row["output"]))
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        lock(descriptor)
    except OSError as error:
        raise OutputError(f"another sweep is writing into {path}; wait for it, or sweep into another") from error


def _rows(journal: Path) -> list[dict[str, Any]]:
    """What the journal says of each level, rows of other versions included; cut lines left out."""
    try:
        lines = journal.read_bytes().splitlines() if journal.exists() else []
    except OSError as error:
        raise OutputError(f"cannot read the journal {journal}: {error.strerror}") from error
    rows = []
    for line in lines:
        try:
            row = json.loads(line)["row"]
            rows.append({"output": row["output"], "base": row.get("base_fingerprint")})
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return rows


def _require_same_model(path: Path, rows: list[dict[str, Any]], model: str, fingerprint: str) -> None:
    others = {str(row["base"]) for row in rows if row["base"] not in (None, fingerprint)}
    if others:
        raise BadRequest(
            f"{path} holds a sweep of another model (weights {min(others)[:12]}…, {model} has {fingerprint[:12]}…); "
            "sweep into another directory"
        )
