"""Columns moved into the order of processing and back, each number once: rows ↔ tiles of sixteen rows, and a Hessian.

    tiles[i // 16, j, i % 16] = rows[i, order[j]]          turned[i, j] = hessian[order[i], order[j]] · scale

A tile's sixteen rows stay in the second cache while its columns are taken in any order; a row of the Hessian stays in
the first. Nothing is computed but the one product, so that order costs no more than the copy that is made anyway.
"""

from pennyweight.kernels.compile import kernel
from pennyweight.kernels.simd import LANES


@kernel
def to_tiles(rows, order, tiles, copy):
    """Fill two equal arrays of tiles, (tiles, columns, 16), from (n, columns); lanes past n become zero."""
    count = len(rows)
    for tile in range(len(tiles)):
        base = tile * LANES
        live = min(LANES, count - base)
        for j in range(len(order)):
            column = order[j]
            for lane in range(live):
                value = rows[base + lane, column]
                tiles[tile, j, lane] = value
                copy[tile, j, lane] = value
            for lane in range(live, LANES):
                tiles[tile, j, lane] = 0
                copy[tile, j, lane] = 0


@kernel
def from_tiles(tiles, order, rows):
    """Fill (n, columns), of any dtype, from (tiles, columns, 16)."""
    count = len(rows)
    for tile in range(len(tiles)):
        base = tile * LANES
        live = min(LANES, count - base)
        for j in range(len(order)):
            column = order[j]
            for lane in range(live):
                rows[base + lane, column] = tiles[tile, j, lane]


@kernel
def turn_square(square, order, scale, turned, start):
    """Fill rows start … of the turned matrix, (n, columns), up to the diagonal: a decomposition reads no more."""
    for i in range(len(turned)):
        row = order[start + i]
        for j in range(start + i + 1):
            turned[i, j] = square[row, order[j]] * scale
