"""Rows of canonical tensors from stored ones, lazily: stacked experts, halves, reordered heads, widened vectors."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats, kernels
from pennyweight.checkpoints.base import LazyTensor

ReadBytes = Callable[[int, int], NDArray[np.uint8]]
"""(start, stop) → uint8 (stop − start, row_bytes), the stored bytes of rows."""


class RowSource(Protocol):
    """A stored tensor, or one decoded from several: see `containers.tensor.StoredTensor`."""

    @property
    def row_bytes(self) -> int | None:
        """Bytes of one row."""
        ...

    def rows(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Rows [start, stop), uint8 (stop − start, row_bytes), in `out` where it is given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """`count` rows of a stored tensor, from row `start` on."""

    tensor: RowSource
    start: int
    count: int


def stacked(pieces: Sequence[Piece]) -> ReadBytes:
    """The rows of all pieces, one piece after the other. All are stored in one format with rows of one length."""
    if len(pieces) == 1 and pieces[0].start == 0:
        return pieces[0].tensor.rows
    begins = np.cumsum([0, *(piece.count for piece in pieces)]).tolist()

    def read(start: int, stop: int) -> NDArray[np.uint8]:
        out = np.empty((stop - start, pieces[0].tensor.row_bytes or 0), np.uint8)
        row = start
        while row < stop:
            index = bisect_right(begins, row) - 1
            piece, end = pieces[index], min(stop, begins[index + 1])
            first = piece.start + row - begins[index]
            piece.tensor.rows(first, first + end - row, out[row - start : end - start])
            row = end
        return out

    return read


def reordered_heads(read: ReadBytes, head_length: int) -> ReadBytes:
    """Rows of each head from transformers' order (halves are rotated together) to llama.cpp's (neighbours are).

    With d = head_length, row 2j + p of a head is stored row p·d/2 + j, for p in 0, 1. Source: llama.cpp
    conversion/llama.py `permute`.
    """

    def read_reordered(start: int, stop: int) -> NDArray[np.uint8]:
        first, last = start // head_length * head_length, -(-stop // head_length) * head_length
        rows = _interleave(read(first, last), head_length)
        return rows[start - first : stop - first]

    return read_reordered


def transformers_order(rows: NDArray, head_length: int) -> NDArray:
    """Rows (heads · d, …) from llama.cpp's order to transformers', the inverse of `reordered_heads`.

    Row p·d/2 + j of a head is stored row 2j + p, for p in 0, 1.
    """
    pairs = rows.reshape(-1, head_length // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def lazy_matrix(name: str, shape: tuple[int, ...], format: str, read: ReadBytes) -> LazyTensor:
    """A tensor that keeps the format it is stored in."""

    def read_rows(start: int, stop: int) -> NDArray[np.float32]:
        return kernels.decode(formats.get(format), read(start, stop))

    nbytes = prod(shape[:-1]) * formats.get(format).row_bytes(shape[-1])
    return LazyTensor(name=name, shape=shape, format=format, nbytes=nbytes, read_rows=read_rows, raw_rows=read)


def lazy_float32(
    name: str, shape: tuple[int, ...], format: str, read: ReadBytes, head_length: int | None = None
) -> LazyTensor:
    """A tensor that is F32 whatever it is stored in: vectors, norms, routers; small, so widening costs nothing.

    Args:
        head_length: for a bias of queries or keys whose numbers are reordered as `reordered_heads` does rows.
    """

    def read_rows(start: int, stop: int) -> NDArray[np.float32]:
        values = kernels.decode(formats.get(format), read(start, stop))
        return values if head_length is None else _interleave(values.reshape(-1, 1), head_length).reshape(values.shape)

    def raw_rows(start: int, stop: int) -> NDArray[np.uint8]:
        return read_rows(start, stop).view(np.uint8)

    return LazyTensor(
        name=name, shape=shape, format="F32", nbytes=4 * prod(shape), read_rows=read_rows, raw_rows=raw_rows
    )


def array_tensor(name: str, values: NDArray[np.float32]) -> LazyTensor:
    """A small float32 vector that no file holds."""
    row = values.reshape(1, -1)
    return LazyTensor(
        name=name,
        shape=values.shape,
        format="F32",
        nbytes=values.nbytes,
        read_rows=lambda start, stop: row[start:stop],
        raw_rows=lambda start, stop: row[start:stop].view(np.uint8),
    )


def _interleave(rows: NDArray, head_length: int) -> NDArray:
    """Rows (heads · d, n) → the same shape, each head's first and second half shuffled into each other."""
    halves = rows.reshape(-1, 2, head_length // 2, rows.shape[1])
    return halves.swapaxes(1, 2).reshape(rows.shape)
