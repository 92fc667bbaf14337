"""The grids of `pennyweight.formats.grids`, fitted by compiled code on all cores: the same parameters, fast."""

import numpy as np

from pennyweight import kernels
from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.formats import grids
from pennyweight.formats.base import BlockFormat, Codes, Floats
from pennyweight.formats.grid import Grid

SLAB = 64
"""Rows that a thread takes at a time: four tiles of sixteen."""


def get(name: str) -> Grid:
    """The grid of that name, in any case. Raises: UnknownName, BadRequest (see `formats.grids.get`)."""
    return grids.get(name, encode_in_threads, search_in_threads)


def encode_in_threads(format: BlockFormat, rows: Floats, importance: Floats | None) -> Codes:
    """`kernels.encode` of slabs of rows, one thread each."""
    out = np.empty((len(rows), format.row_bytes(rows.shape[1])), np.uint8)
    rows = np.ascontiguousarray(rows)

    def encode(start: int) -> None:
        kernels.encode(format, rows[start : start + SLAB], importance, out[start : start + SLAB])

    each_in_threads(encode, range(0, len(rows), SLAB), default_threads())
    return out


def search_in_threads(x: Floats, importance: Floats | None, bits: int, symmetric: bool) -> tuple[Floats, Floats]:
    """`formats.integer_grid.search_scale` in threads: weights (rows, groups, n), importance (groups, n) or None."""
    from pennyweight.kernels.range_search import search_ranges

    rows, groups, n = x.shape
    x = np.ascontiguousarray(x, np.float32)
    weights = np.ones((groups, n), np.float32) if importance is None else np.ascontiguousarray(importance, np.float32)
    scale, zero = np.empty((rows, groups), np.float32), np.empty((rows, groups), np.float32)

    def search(start: int) -> None:
        slab = slice(start, start + SLAB)
        search_ranges(x[slab], weights, bits, symmetric, scale[slab], zero[slab])

    each_in_threads(search, range(0, rows, SLAB), default_threads())
    return scale, zero
