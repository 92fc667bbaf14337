"""A tensor as it lies in a file, and a tensor as it shall lie in one: name, shape, stored format, bytes of a row."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.source import Source
from pennyweight.core.errors import FormatError
from pennyweight.formats.base import BlockFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor to be written: shape in NumPy order (the last axis is the row)."""

    name: str
    shape: tuple[int, ...]
    format: BlockFormat

    @property
    def rows(self) -> int:
        """Rows over all leading axes."""
        return prod(self.shape[:-1])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row. Raises: ShapeError."""
        return self.format.row_bytes(self.shape[-1] if self.shape else 1)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, without padding."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor of an open file; its bytes stay there until rows are asked for.

    Attributes:
        name: as the file calls it.
        shape: NumPy order (slowest first; the last axis is the row), in GGUF the reverse of `ne`.
        format: name of the stored format, ours (`F32`, `Q4_K`, `FP8_E4M3`, `I32`); `type 57` where the file has a type
            that did not exist when this was written.
        row_bytes: bytes of one row; None for such a type.
        offset: where its bytes begin, counted from the start of the file.
        nbytes: bytes it takes; for a type of unknown size, all up to the next tensor.
        source: the file.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    row_bytes: int | None
    offset: int
    nbytes: int
    source: Source

    @property
    def row_count(self) -> int:
        """Rows over all leading axes."""
        return prod(self.shape[:-1])

    def rows(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Stored bytes of rows [start, stop): uint8 (stop - start, row_bytes), read into `out` where it is given.

        Safe to call from several threads at once.

        Raises:
            FormatError: the file's type is one we do not know, or the file has been cut short since it was opened.
        """
        if self.row_bytes is None:
            raise FormatError(
                f"{self.source.name}: {self.name} is stored as {self.format}, which this version does not know; "
                "update, or ask for a file of another type"
            )
        if not 0 <= start <= stop <= self.row_count:
            raise IndexError(f"{self.name} has {self.row_count} rows, asked for {start} to {stop}")
        shape = (stop - start, self.row_bytes)
        out = np.empty(shape, np.uint8) if out is None else out
        if out.shape != shape or out.dtype != np.uint8:
            raise ValueError(f"{self.name}: out is {out.dtype} {out.shape}, wanted uint8 {shape}")
        if out.size:
            self.source.read_into(self.offset + start * self.row_bytes, out.data.cast("B"))
        return out
