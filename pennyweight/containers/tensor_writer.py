"""Write tensors row by row, in any order and from several threads, into files whose layout is known beforehand."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.atomic import AtomicFile, refuse_input, sync_directory
from pennyweight.containers.tensor import TensorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """One file to be: its header's bytes, where each tensor begins, and its size.

    Attributes:
        path: where it will stand.
        header: everything before the tensors' bytes.
        tensors: each tensor and where it begins, counted from the start of the file.
        nbytes: size of the file; bytes that neither header nor tensors fill are zero.
    """

    path: Path
    header: bytes
    tensors: tuple[tuple[TensorInfo, int], ...]
    nbytes: int


class TensorWriter:
    """Abstract; `GGUFWriter` and `SafetensorsWriter` say what the layout is.

    A context manager: leaving it normally syncs the files and renames them into place; leaving it by an error, Ctrl-C
    included, removes what was written and leaves what was there before. Threads that call `write_rows` must have
    ended by then. Killed at any moment, an output is the old file, the whole new one, or (a split one) absent.
    """

    def __init__(self, layouts: Sequence[FileLayout], sources: Iterable[Path]) -> None:
        """Create the temporary files, with their headers.

        Raises:
            OutputError: an output is one of `sources`, or cannot be written, or there is not enough space.
        """
        sources = list(sources)
        for layout in layouts:
            refuse_input(layout.path, sources)
        self.paths = tuple(layout.path for layout in layouts)
        self.bytes_written = sum(layout.nbytes for layout in layouts)
        self._files: list[AtomicFile] = []
        self._regions: dict[str, tuple[AtomicFile, int, TensorInfo]] = {}
        self._missing_rows: dict[str, int] = {}
        self._lock = threading.Lock()
        try:
            for layout in layouts:
                self._create(layout)
        except BaseException:
            self._discard()
            raise

    def write_rows(self, name: str, start: int, data: NDArray[np.uint8]) -> None:
        """Write rows [start, start + n) of tensor `name`: uint8 (n, row_bytes), each row once. Raises: OutputError."""
        file, offset, info = self._regions[name]
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != info.row_bytes:
            raise ValueError(f"{name}: rows are uint8 (n, {info.row_bytes}), got {data.dtype} {data.shape}")
        if not 0 <= start <= start + len(data) <= info.rows:
            raise IndexError(f"{name} has {info.rows} rows, got rows {start} to {start + len(data)}")
        if data.size:
            file.write_at(offset + start * info.row_bytes, np.ascontiguousarray(data).data)
        with self._lock:
            self._missing_rows[name] -= len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            self._discard()

    def _create(self, layout: FileLayout) -> None:
        file = AtomicFile(layout.path, layout.nbytes)
        self._files.append(file)
        file.write_at(0, layout.header)
        for info, offset in layout.tensors:
            self._regions[info.name] = file, offset, info
            self._missing_rows[info.name] = info.rows

    def _commit(self) -> None:
        incomplete = {name: rows for name, rows in self._missing_rows.items() if rows}
        if incomplete:
            raise RuntimeError(f"rows not written, or written twice (negative): {incomplete}")
        for file in self._files:
            file.sync()
        if len(self._files) > 1:
            # Several renames are not one. Without its first part a split model does not open, so a kill in between
            # leaves no model rather than one mixed of old and new parts.
            self._files[0].path.unlink(missing_ok=True)
            sync_directory(self._files[0].path)
        for file in reversed(self._files):
            file.publish()
        self._files.clear()

    def _discard(self) -> None:
        for file in self._files:
            file.discard()
        self._files.clear()
        self._regions.clear()
