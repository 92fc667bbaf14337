"""Rounding with error feedback, sixteen rows abreast: the inner loop of GPTQ for every grid.

A lane is a row. Column j, in the order of processing, is rounded after the errors of all columns before it:

    w'[j] = w[j] + Σ_{k<j} (w[k] − q[k]) · factor[j, k]        q[j] = nearest code's value to w'[j]

The sum runs strictly from k = 0 upward, whatever the block of columns, the tile of rows or the thread: `lazy` only says
how many columns are brought up to date together, so that the factor's rows and the errors stay in the caches.

Arrays of lanes are (tiles, columns or groups, 16), C-contiguous. Definition: `pennyweight.methods.gptq`.
"""

import numpy as np

from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.rounding import clamped, rounded
from pennyweight.kernels.simd import LANES, select, splat, truncated
from pennyweight.kernels.simd_memory import load, store, store_bytes

_CHUNK = 256
"""Errors of so many columns, of one tile (16 KiB), meet all columns of a block while they are in the first cache."""

_FAR = np.float32(2**20)  # past every grid's top, and where `rounded` still rounds
_ZERO, _ONE = np.float32(0), np.float32(1)


@lane_function
def _add_errors(target, at, delta, before, factor, column, count, first, last):
    """target[at + c] += Σ_{first ≤ k < last} delta[before + k] · factor[column + c, k] for c in 0..count − 1."""
    c = 0
    while c + 4 <= count:
        place, row = (at + c) * LANES, column + c
        a, b = load(target, place), load(target, place + LANES)
        d, e = load(target, place + 2 * LANES), load(target, place + 3 * LANES)
        for k in range(first, last):
            error = load(delta, (before + k) * LANES)
            a = a + error * factor[row, k]
            b = b + error * factor[row + 1, k]
            d = d + error * factor[row + 2, k]
            e = e + error * factor[row + 3, k]
        store(target, place, a)
        store(target, place + LANES, b)
        store(target, place + 2 * LANES, d)
        store(target, place + 3 * LANES, e)
        c += 4
    for rest in range(c, count):
        a = load(target, (at + rest) * LANES)
        for k in range(first, last):
            a = a + load(delta, (before + k) * LANES) * factor[column + rest, k]
        store(target, (at + rest) * LANES, a)


@kernel
def bring_up_to_date(target, delta, factor, start, stop, base):
    """target (tiles, columns, 16): columns start..stop − 1 receive the errors of columns base..start − 1, in place."""
    tiles, columns = target.shape[0], target.shape[1]
    for first in range(base, start, _CHUNK):
        last = min(first + _CHUNK, start)
        for tile in range(tiles):
            before = tile * columns
            _add_errors(target, before + start, delta, before, factor, start, stop - start, first, last)


@lane_function
def _nearest(scaled, zero, grid, top):
    """Code and value of the nearest level, Floats; `grid` is (thresholds, values), both empty on a uniform grid."""
    thresholds, values = grid
    if len(thresholds) == 0:
        code = clamped(rounded(clamped(scaled, -_FAR, _FAR)) + zero, _ZERO, top)
        return code, code
    code, value = splat(_ZERO), splat(values[0])
    for i in range(len(thresholds)):
        above = scaled >= splat(thresholds[i])
        code = select(above, code + _ONE, code)
        value = select(above, splat(values[i + 1]), value)
    return code, value


@kernel
def round_columns(weight, target, delta, codes, loss, factor, curvature, group, parameters, grid, span):
    """Round columns start..stop − 1 of all tiles, in order.

    Args:
        weight: original numbers; on return, in these columns, what their codes decode to.
        target: the same numbers with the errors of columns before `base` added; work space.
        delta: original minus decoded, filled in these columns, read before them.
        codes: uint8, filled. loss: (tiles, 1, 16), raised by Σ (w' − q)² · curvature[j].
        factor: (columns, columns), below the diagonal. curvature: (columns,). group: int32 (columns,).
        parameters: step, zero, minimum, each (tiles, groups, 16).
        grid: thresholds (0 of them on a uniform grid), values, largest code.
        span: start, stop, base, lazy.
    """
    start, stop, base, lazy = span
    step, zero, minimum = parameters
    thresholds, values, top = grid
    tiles, columns, groups = weight.shape[0], weight.shape[1], step.shape[1]
    for block in range(start, stop, lazy):
        end = min(block + lazy, stop)
        for first in range(base, block, _CHUNK):
            last = min(first + _CHUNK, block)
            for tile in range(tiles):
                before = tile * columns
                _add_errors(target, before + block, delta, before, factor, block, end - block, first, last)
        for tile in range(tiles):
            before = tile * columns
            total = load(loss, tile * LANES)
            for j in range(block, end):
                at, g = (before + j) * LANES, (tile * groups + group[j]) * LANES
                wanted = load(target, at)
                for k in range(max(block, base), j):
                    wanted = wanted + load(delta, (before + k) * LANES) * factor[j, k]
                size, shift, low = load(step, g), load(zero, g), load(minimum, g)
                usable = (size > _ZERO) | (size < _ZERO)
                scaled = select(usable, (wanted + low) / select(usable, size, splat(_ONE)), splat(_ZERO))
                code, value = _nearest(scaled, shift, (thresholds, values), top)
                decoded = size * (value - shift) - low
                missed = wanted - decoded
                total = total + missed * missed * curvature[j]
                store(delta, at, load(weight, at) - decoded)
                store(weight, at, decoded)
                store_bytes(codes, at, truncated(code))
            store(loss, tile * LANES, total)
