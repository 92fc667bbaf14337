"""What Q4_0 and Q5_0 share, fast: w = d · (code − top), sixteen blocks of 32 weights abreast.

Source: llama.cpp ggml-quants.c `quantize_row_q{4,5}_0_{ref,impl}`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.rounding import clamped
from pennyweight.kernels.search_qx import codes_found, largest, search_qx
from pennyweight.kernels.simd import LANES, magnitude, select, splat, truncated
from pennyweight.kernels.simd_memory import load, store, store_bytes
from pennyweight.kernels.tiles import TILE_32, load_importance_32, load_tile_32, sums_of_squares, weigh

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_BEYOND = np.float32(64)


class Weighting(NamedTuple):
    """What decides how much a weight matters.

    Attributes:
        importance: float32, from `repeated`, of `columns` columns.
        mean_squares: σ², the mean of x² over a row, float32 (rows,).
    """

    importance: NDArray[np.float32]
    columns: int
    mean_squares: NDArray[np.float32]


@lane_function
def weighting_of(source, importance, columns):
    """The `Weighting` of flat float32 `source`."""
    return Weighting(importance, columns, sums_of_squares(source, columns) / np.float32(columns))


@lane_function
def fit_plain(source, first, top, d, codes):
    """The weight of largest magnitude becomes code 0.

    Args:
        source: flat float32 weights; (at most) sixteen blocks are coded, from `first` on.
        d: float32 (16,), filled.
        codes: uint8 (512,), filled.

    Returns:
        The number of blocks.
    """
    x = np.empty(TILE_32, np.float32)
    count = load_tile_32(source, first, x)
    store(d, 0, largest(x, 0, 32) / np.float32(-top))
    for block in range(count):
        inverse = _ONE / d[block] if d[block] != _ZERO else _ZERO
        for half in (0, LANES):
            scaled = load(source, 32 * (first + block) + half) * inverse + (np.float32(top) + _HALF)
            # A subnormal d has an infinite inverse; C's conversion of what follows leaves 0.
            scaled = select(magnitude(scaled) < _BEYOND, scaled, splat(_ZERO))
            store_bytes(codes, 32 * block + half, clamped(truncated(scaled), 0, 2 * top - 1))
    return count


@lane_function
def fit_weighted(source, first, top, weighting, d, codes):
    """The same from a search in which a weight matters by importance · √(σ² + x²)."""
    x, w, wx = np.empty(TILE_32, np.float32), np.empty(TILE_32, np.float32), np.empty(TILE_32, np.float32)
    count = load_tile_32(source, first, x)
    load_importance_32(weighting.importance, first, weighting.columns, w)
    for block in range(count):
        d[block] = weighting.mean_squares[32 * (first + block) // weighting.columns]
    weigh(x, w, 32, load(d, 0))
    scale, inverse = search_qx(x, w, wx, 32, top)
    store(d, 0, inverse)
    for block in range(count):
        for half in (0, LANES):
            weights = load(source, 32 * (first + block) + half)
            store_bytes(codes, 32 * block + half, codes_found(weights, d[block], top))
    store(d, 0, scale)
    return count
