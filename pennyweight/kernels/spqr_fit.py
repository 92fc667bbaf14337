"""Scales and zero points of SpQR's groups, sixteen rows abreast: a lane is a row, and a tile shares its second order.

Definition: `pennyweight.formats.spqr_fit`; the results are the same, bit for bit.
"""

import numpy as np

from pennyweight.formats.integer_grid import range_parts
from pennyweight.formats.spqr_fit import FLATTEST, LEAST_SCALE
from pennyweight.formats.spqr_fit import TOP as _HIGHEST
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.rounding import clamped, rounded
from pennyweight.kernels.simd import LANES, select, splat
from pennyweight.kernels.simd_memory import load, store

_PARTS = range_parts()
_FAR = np.float32(2**20)  # past every code, and where `rounded` still rounds
_ZERO, _TOP, _INFINITY = np.float32(0), np.float32(_HIGHEST), np.float32(np.inf)
_FLATTEST = np.float32(FLATTEST)


@kernel
def search_ranges(x, cost, group, scale, zero):
    """Fill scale and zero point, (tiles, groups, 16), from x and cost, (tiles, groups · group, 16), C-contiguous."""
    count = scale.shape[0] * scale.shape[1]
    divided = np.empty(group * LANES, np.float32)
    for g in range(count):
        at = g * group
        low, high = load(x, at * LANES), load(x, at * LANES)
        for i in range(1, group):
            value = load(x, (at + i) * LANES)
            low, high = select(value < low, value, low), select(value > high, value, high)
        best, found_scale, found_zero = splat(_INFINITY), splat(np.float32(1)), splat(_ZERO)
        for part in _PARTS:
            least, most = low * part, high * part
            tried = (most - least) / _TOP
            flat = select(least < _ZERO, splat(_ZERO) - least, least) / _FLATTEST
            flat = select(flat > LEAST_SCALE, flat, splat(LEAST_SCALE))
            tried = select(tried > flat, tried, flat)
            shift = (splat(_ZERO) - least) / tried
            _divide(x, at, group, tried, divided)
            error = _error(x, cost, divided, at, group, tried, shift)
            better = error < best
            best = select(better, error, best)
            found_scale, found_zero = select(better, tried, found_scale), select(better, shift, found_zero)
        store(scale, g * LANES, found_scale)
        store(zero, g * LANES, found_zero)


@kernel
def choose_codes(x, cost, group, second, scale_codes, zero_codes):
    """Fill the codes as floats, (tiles, groups, 16), from x and cost, (tiles, groups · group, 16), and second
    (tiles, groups, 4)."""
    divided = np.empty(group * LANES, np.float32)
    for tile in range(second.shape[0]):
        for g in range(second.shape[1]):
            at = (tile * second.shape[1] + g) * group
            best, found_a, found_b = splat(_INFINITY), splat(_ZERO), splat(_ZERO)
            for a in range(_HIGHEST + 1):
                scale = second[tile, g, 0] * (np.float32(a) - second[tile, g, 1])
                if not scale > _ZERO:
                    continue
                _divide(x, at, group, splat(scale), divided)
                for b in range(_HIGHEST + 1):
                    zero = second[tile, g, 2] * (np.float32(b) - second[tile, g, 3])
                    error = _error(x, cost, divided, at, group, splat(scale), splat(zero))
                    better = error < best
                    best = select(better, error, best)
                    found_a = select(better, splat(np.float32(a)), found_a)
                    found_b = select(better, splat(np.float32(b)), found_b)
            store(scale_codes, (tile * second.shape[1] + g) * LANES, found_a)
            store(zero_codes, (tile * second.shape[1] + g) * LANES, found_b)


@lane_function
def _divide(x, at, group, scale, divided):
    """divided[i] = x[at + i] / scale."""
    for i in range(group):
        store(divided, i * LANES, load(x, (at + i) * LANES) / scale)


@lane_function
def _error(x, cost, divided, at, group, scale, zero):
    """Σ cost · (x − q)², in order."""
    total = splat(_ZERO)
    for i in range(group):
        code = clamped(rounded(clamped(load(divided, i * LANES) + zero, -_FAR, _FAR)), _ZERO, _TOP)
        missed = scale * (code - zero) - load(x, (at + i) * LANES)
        total = total + missed * missed * load(cost, (at + i) * LANES)
    return total
