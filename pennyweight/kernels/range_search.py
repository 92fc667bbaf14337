"""The search for the range of integer grids, sixteen rows abreast: each group's range is shrunk while the error falls.

A lane is a row, so the importance of a column is one number for all lanes, and each sum runs over a group in order.

Definition: `pennyweight.formats.integer_grid.search_scale`; the results are the same, bit for bit.
"""

import numpy as np

from pennyweight.formats.integer_grid import LARGEST_SCALE, range_parts
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.rounding import clamped, rounded
from pennyweight.kernels.simd import LANES, bits_of, from_bits, select, splat
from pennyweight.kernels.simd_memory import load, store, transpose

_PARTS = range_parts()
_FAR = np.float32(2**20)  # past every code, and where `rounded` still rounds
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_LEAST_NORMAL = np.float32(2.0**-14)


@kernel
def search_ranges(x, importance, bits, symmetric, scale, zero):
    """Fill scale and zero point of each group.

    Args:
        x: float32 (rows, groups, n), C-contiguous, finite.
        importance: float32 (groups, n), C-contiguous; 1 where nobody has said.
        scale, zero: float32 (rows, groups), filled.
    """
    rows, groups, n = x.shape
    tile, short = np.empty(n * LANES, np.float32), np.zeros((LANES, n), np.float32)
    found = np.empty(2 * LANES, np.float32)
    top = np.float32(2**bits - 1)
    flat, flat_short, weights = x.reshape(-1), short.reshape(-1), importance.reshape(-1)
    for first in range(0, rows, LANES):
        count = min(LANES, rows - first)
        for group in range(groups):
            if count == LANES:
                _lay(flat, (first * groups + group) * n, groups * n, n, tile)
            else:
                short[:count] = x[first:, group]
                _lay(flat_short, 0, n, n, tile)
            found_scale, found_zero = _search(tile, weights, group * n, n, top, symmetric)
            store(found, 0, found_scale)
            store(found, LANES, found_zero)
            scale[first : first + count, group] = found[:count]
            zero[first : first + count, group] = found[LANES : LANES + count]


@lane_function
def _lay(source, start, stride, n, tile):
    """Sixteen runs of n numbers, `stride` apart → tile[16 · i + lane]."""
    whole = n // LANES * LANES
    for i in range(0, whole, LANES):
        transpose(source, start + i, stride, tile, LANES * i)
    for i in range(whole, n):
        for lane in range(LANES):
            tile[LANES * i + lane] = source[start + stride * lane + i]


@lane_function
def _search(tile, weights, at, n, top, symmetric):
    """Scale and zero point, Floats, of the range with the least error; the widest of equals."""
    low, high = splat(_ZERO), splat(_ZERO)
    for i in range(0, LANES * n, LANES):
        value = load(tile, i)
        low, high = select(value < low, value, low), select(value > high, value, high)
    best, scale, zero = splat(np.float32(np.inf)), splat(_ZERO), splat(_ZERO)
    for part in _PARTS:
        tried_scale, tried_zero = _of_range(low * part, high * part, top, symmetric)
        error = _squared_error(tile, weights, at, n, top, tried_scale, tried_zero)
        better = error < best
        best = select(better, error, best)
        scale, zero = select(better, tried_scale, scale), select(better, tried_zero, zero)
    return scale, zero


@lane_function
def _of_range(low, high, top, symmetric):
    """`integer_grid.range_to_scale`."""
    if symmetric:
        below = splat(_ZERO) - low
        return _nearest_half(select(below > high, below, high) * (_TWO / top)), splat((top + _ONE) * _HALF)
    scale = _nearest_half((high - low) / top)
    usable = scale > splat(_ZERO)
    zero = rounded(clamped((splat(_ZERO) - low) / select(usable, scale, splat(_ONE)), -_FAR, _FAR))
    return scale, select(usable, clamped(zero, _ZERO, top), splat(_ZERO))


@lane_function
def _nearest_half(value):
    """Floats of no sign → the nearest float16 numbers, ties to even, none above the largest."""
    value = select(value > LARGEST_SCALE, splat(LARGEST_SCALE), value)
    bits = bits_of(value)
    normal = from_bits((bits + 0x0FFF + (bits >> 13 & 1)) >> 13 << 13)
    # Below 2^-14 halves are multiples of 2^-24, as the floats just above 0.5 are of 2^-24.
    return select(value < _LEAST_NORMAL, (value + _HALF) - _HALF, normal)


@lane_function
def _squared_error(tile, weights, at, n, top, scale, zero):
    """Σ importance · (x − q)² over the group, in order. A scale of zero decodes to zero whatever the code."""
    divisor = select(scale > splat(_ZERO), scale, splat(_ONE))
    least, most = splat(_ZERO) - zero, splat(top) - zero
    total = splat(_ZERO)
    for i in range(n):
        value = load(tile, LANES * i)
        level = value / divisor
        level = select(level < least, least, level)
        level = rounded(select(level > most, most, level))  # clamped first: the bounds are whole numbers
        missed = scale * level - value
        total = total + missed * missed * weights[at + i]
    return total
