"""What is carried from block to block: the residual stream of every calibration chunk, in memory or in a file.

    hidden = Hidden(count, (512, 4096), spill=Path("/scratch"))
    hidden.put(0, x); hidden.get(0, 4)

A chunk costs tokens · width · 4 bytes: 128 chunks of 2048 tokens through a width of 8192 are 8.6 GB. `spill` moves them
to a disk, written and read a batch at a time, so that memory holds one batch.
"""

import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import DoesNotFit, OutputError
from pennyweight.core.units import show_bytes

if TYPE_CHECKING:
    import torch


class Hidden:
    """float32 (count, tokens, width), filled and read by ranges of chunks; a context manager."""

    def __init__(self, count: int, chunk_shape: tuple[int, int], spill: Path | None = None) -> None:
        """Make room. Raises: DoesNotFit in memory, OutputError on a disk."""
        self.count, self._chunk = count, chunk_shape
        self._chunk_bytes = 4 * chunk_shape[0] * chunk_shape[1]
        self._array, self._file = None, None
        if spill is None:
            try:
                self._array = np.empty((count, *chunk_shape), np.float32)
            except MemoryError as error:
                total = show_bytes(count * self._chunk_bytes)
                raise DoesNotFit(f"{total} of activations between blocks; --spill DIR keeps them on a disk") from error
        else:
            self._file = _unnamed_file(spill, count * self._chunk_bytes)

    def put(self, start: int, values: "torch.Tensor") -> None:
        """Keep chunks start … of shape (n, tokens, width), any device and float dtype. Raises: OutputError."""
        chunks = values.detach().float().cpu().numpy()
        if self._array is not None:
            self._array[start : start + len(chunks)] = chunks
        elif self._file is not None:
            _write(self._file, np.ascontiguousarray(chunks).data.cast("B"), start * self._chunk_bytes)

    def get(self, start: int, stop: int) -> "torch.Tensor":
        """Chunks [start, stop) as float32 on the CPU, to be read only."""
        import torch

        if self._array is not None:
            return torch.from_numpy(self._array[start:stop])
        assert self._file is not None
        found = np.empty((stop - start, *self._chunk), np.float32)
        _read(self._file, found.data.cast("B"), start * self._chunk_bytes)
        return torch.from_numpy(found)

    def close(self) -> None:
        """Give memory and disk back."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> "Hidden":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _unnamed_file(directory: Path, nbytes: int) -> IO[bytes]:
    """A file that vanishes with its descriptor, however the process ends."""
    try:
        free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
        if free < nbytes:
            raise OutputError(f"--spill {directory}: {show_bytes(nbytes)} wanted, {show_bytes(free)} are free")
        return tempfile.TemporaryFile(dir=directory)
    except OSError as error:
        raise OutputError(f"--spill {directory}: {error.strerror}") from error


def _write(file: IO[bytes], view: memoryview, offset: int) -> None:
    done = 0
    try:
        while done < len(view):  # one call moves 2 GiB at most
            done += os.pwrite(file.fileno(), view[done:], offset + done)
    except OSError as error:
        raise OutputError(f"cannot spill activations: {error.strerror}") from error


def _read(file: IO[bytes], view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(file.fileno(), [view[done:]], offset + done)
        if not count:
            raise OutputError("spilled activations ended early; is the disk full?")
        done += count
