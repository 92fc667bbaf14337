"""Tiles: blocks of weights on their side, so that lane l of vector i is weight i of block l.

A tile is a float32 scratch array of (weights per block) × 16; blocks lie end to end in memory across all rows, so only
the very last tile of a call can be short.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.simd import LANES, splat, square_root
from pennyweight.kernels.simd_memory import load, store, transpose

TILE_32 = 32 * LANES
"""Weights in a tile of blocks of 32."""

_ZERO = np.float32(0)


@lane_function
def load_tile_32(source, first, tile):
    """Blocks of 32 weights of flat float32 `source`, from block `first` on → `tile`; returns how many: 16, or the rest.

    Where there are fewer, the other lanes are 0.
    """
    start, left = 32 * first, source.size - 32 * first
    if left >= TILE_32:
        transpose(source, start, 32, tile, 0)
        transpose(source, start + 16, 32, tile, 256)
        return LANES
    short = np.zeros(TILE_32, np.float32)
    short[:left] = source[start:]
    transpose(short, 0, 32, tile, 0)
    transpose(short, 16, 32, tile, 256)
    return left // 32


def repeated(importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (columns,) over and over, so that the sixteen blocks from any of its own on lie in one piece."""
    longer = np.resize(importance, importance.size + TILE_32)
    longer.flags.writeable = False
    return longer


@lane_function
def load_importance_32(importance, first, columns, tile):
    """What `repeated` made of the importance of `columns` columns → the tile that belongs to blocks `first` .. + 16."""
    start = 32 * first % columns
    transpose(importance, start, 32, tile, 0)
    transpose(importance, start + 16, 32, tile, 256)


@lane_function
def weigh_plain(x, w, count):
    """Tile w of `count` weights: x², how much each weight of tile x matters when nobody has said."""
    for i in range(0, 16 * count, 16):
        value = load(x, i)
        store(w, i, value * value)


@lane_function
def weigh(x, w, count, variance):
    """Tile w of `count` weights, the importance, becomes importance · √(σ² + x²); `variance` is σ² of each lane."""
    for i in range(0, 16 * count, 16):
        value = load(x, i)
        store(w, i, load(w, i) * square_root(variance + value * value))


@lane_function
def sums_of_squares(source, length):
    """Σ x² over each run of `length` (a multiple of 16) weights, in order, float32 (source.size // length,)."""
    sums = np.empty(source.size // length, np.float32)
    tile = np.empty(16 * LANES, np.float32)
    whole = len(sums) // LANES * LANES
    for first in range(0, whole, LANES):
        total = splat(_ZERO)
        for start in range(0, length, 16):
            transpose(source, first * length + start, length, tile, 0)
            for i in range(16):
                x = load(tile, 16 * i)
                total = total + x * x
        store(sums, first, total)
    for run in range(whole, len(sums)):
        total = _ZERO
        for x in source[run * length : (run + 1) * length]:
            total += x * x
        sums[run] = total
    return sums
