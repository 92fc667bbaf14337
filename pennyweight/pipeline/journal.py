"""The journal of a block-by-block run: what every finished block became, so that a killed run goes on behind it.

    work/journal.json             what the run is: model, recipe, calibration, settings, versions
    work/block-00003.safetensors  block 3: codes of its matrices, what a transform changed, a report of each layer

A block's file appears whole or not at all. A directory that another model, recipe, calibration or version began is
refused: half of one run and half of another is no model.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.atomic import write_bytes
from pennyweight.core.errors import BadRequest, FormatError, OutputError
from pennyweight.pipeline.reports import LayerReport
from pennyweight.pipeline.stored_codes import put_together, taken_apart

MANIFEST, LOCK = "journal.json", ".lock"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockResult:
    """What a block became.

    Attributes:
        codes: tensor name → codes of its matrices, one or one for each expert.
        floats: tensor name → float32 rows of a tensor that a transform changed and nothing rounds.
        reports: of every matrix.
    """

    codes: Mapping[str, tuple[Any, ...]]
    floats: Mapping[str, NDArray[np.float32]]
    reports: tuple[LayerReport, ...]


class BlockJournal:
    """The work directory of one run; a context manager that keeps others out while it is open."""

    def __init__(self, directory: Path, run: Mapping[str, Any]) -> None:
        """Open or begin. `run` holds whatever the result depends on, JSON values.

        Raises:
            BadRequest: the directory belongs to another run (says what differs), holds other files, or is in use.
            OutputError: it cannot be made or written.
        """
        self.directory, self._run = directory, {"version": VERSION, **run}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"cannot work in {directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin()
        except BlockingIOError as error:
            os.close(self._lock)
            raise BadRequest(f"{directory} is in use by another run; wait for it, or name another --work") from error
        except BaseException:
            os.close(self._lock)
            raise

    def has(self, block: int) -> bool:
        """Whether the block is finished."""
        return self._path(block).exists()

    def add(self, block: int, result: BlockResult) -> None:
        """Keep a finished block; on the disk when this returns. Raises: OutputError."""
        from safetensors.numpy import save

        tensors: dict[str, NDArray[Any]] = {}
        facts: dict[str, Any] = {"reports": [asdict(report) for report in result.reports], "codes": {}, "floats": []}
        for name, matrices in result.codes.items():
            parts = [taken_apart(codes) for codes in matrices]
            facts["codes"][name] = [said for _, said in parts]
            for index, (arrays, _) in enumerate(parts):
                tensors |= {_key(name, index, field): array for field, array in arrays.items()}
        for name, rows in result.floats.items():
            facts["floats"].append(name)
            tensors[name] = np.ascontiguousarray(rows, np.float32)
        write_bytes(self._path(block), save(tensors, {"pennyweight": json.dumps(facts)}))

    def read(self, block: int) -> BlockResult:
        """A finished block. Raises: FormatError where its file is damaged."""
        facts = self._facts(block)
        return BlockResult(
            codes={name: self.codes(block, name) for name in facts["codes"]},
            floats={name: self.floats(block, name) for name in facts["floats"]},
            reports=self.reports(block),
        )

    def codes(self, block: int, name: str) -> tuple[Any, ...]:
        """Codes of one tensor, matrix by matrix; only these are read. Raises: FormatError."""
        said = self._facts(block)["codes"][name]
        with self._open(block) as file:
            keys = set(file.keys())
            return tuple(
                put_together({key.rsplit("|", 1)[1]: file.get_tensor(key) for key in _of(keys, name, index)}, facts)
                for index, facts in enumerate(said)
            )

    def floats(self, block: int, name: str) -> NDArray[np.float32]:
        """float32 rows of a transformed tensor. Raises: FormatError."""
        with self._open(block) as file:
            return file.get_tensor(name)

    def names(self, block: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the tensors with codes, and of those with floats."""
        facts = self._facts(block)
        return tuple(facts["codes"]), tuple(facts["floats"])

    def reports(self, block: int) -> tuple[LayerReport, ...]:
        """How the block's matrices fared."""
        return tuple(LayerReport(**said) for said in self._facts(block)["reports"])

    def remove(self) -> None:
        """Remove the directory, after the result is written."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "BlockJournal":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._lock)

    def _begin(self) -> None:
        manifest = self.directory / MANIFEST
        if not manifest.exists():
            others = sorted(entry.name for entry in self.directory.iterdir() if not entry.name.startswith("."))
            if others:
                raise BadRequest(f"{self.directory} holds {others[0]} and no journal; name an empty --work directory")
            write_bytes(manifest, json.dumps(self._run, indent=1).encode())
            return
        try:
            found = json.loads(manifest.read_bytes())
        except ValueError as error:
            raise FormatError(f"{manifest} is no JSON; remove {self.directory} and begin again") from error
        differing = [key for key in self._run if not isinstance(found, dict) or found.get(key) != self._run[key]]
        if differing:
            key = differing[0]
            there = found.get(key) if isinstance(found, dict) else None
            raise BadRequest(
                f"{self.directory} was begun with {key} {_short(there)}, this run has {_short(self._run[key])}; "
                "remove it, or name another --work directory"
            )

    def _path(self, block: int) -> Path:
        return self.directory / f"block-{block:05}.safetensors"

    def _open(self, block: int) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self._path(block), "numpy")
        except (SafetensorError, OSError) as error:
            raise FormatError(
                f"{self._path(block)} is damaged ({error}); remove it, its block is done again"
            ) from error

    def _facts(self, block: int) -> dict[str, Any]:
        with self._open(block) as file:
            return json.loads(file.metadata()["pennyweight"])


def _key(name: str, matrix: int, field: str) -> str:
    return f"{name}|{matrix}|{field}"


def _of(keys: set[str], name: str, matrix: int) -> list[str]:
    return sorted(key for key in keys if key.startswith(_key(name, matrix, "")))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
