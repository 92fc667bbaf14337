"""What the encoders of Q4_1 and Q5_1 share: 32 weights with a scale and a minimum, one block of sixteen rows abreast.

Without importance the scale is read off the extremes; with it, it is searched, and σ² is that of the whole row.

Source: llama.cpp ggml-quants.c (b11549) `quantize_row_q{4,5}_1_{ref,impl}`.
"""

import numpy as np

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.rounding import store_half
from pennyweight.kernels.search_qkx import affine_codes
from pennyweight.kernels.simd import LANES, select, splat, truncated
from pennyweight.kernels.simd_memory import load, store
from pennyweight.kernels.superblock import gather, search_group, weigh

_ZERO, _ONE, _HALF, _MINUS_ONE = np.float32(0), np.float32(1), np.float32(0.5), np.float32(-1)
_TOO_LARGE = np.float32(2.0**31)


@lane_function
def fit(s, search, importance, column, variance):
    """Scale and minimum of 32 gathered columns of sixteen rows, kept as those of sub-block 0.

    Args:
        importance: float32 (columns,) or None.
        variance: σ² of each row, Floats; unused without importance.
    """
    if importance is None:
        _fit_extremes(s, search)
    else:
        weigh(s, 0, importance, column, 32, variance)
        search_group(s, 0, 32, search)


@lane_function
def row_variance(rows, first, importance):
    """σ² = Σ x² / columns of sixteen whole rows, where importance asks for it; else 0."""
    total = splat(_ZERO)
    if importance is not None:
        columns, x = rows.shape[1], np.empty(LANES * LANES, np.float32)
        for column in range(0, columns, LANES):
            gather(rows, first, column, LANES, x)
            for i in range(LANES):
                value = load(x, i * LANES)
                total = total + value * value
        total = total / np.float32(columns)
    return total


@lane_function
def _fit_extremes(s, search):
    low = load(s.x, 0)
    high = low
    for i in range(1, 32):
        value = load(s.x, i * LANES)
        low, high = select(value < low, value, low), select(value > high, value, high)
    scale = (high - low) / search.top
    store(s.scale, 0, scale)
    store(s.minimum, 0, low * _MINUS_ONE)
    store(s.offset, 0, low)
    store(s.inverse, 0, select(scale == _ZERO, splat(_ZERO), splat(_ONE) / scale))


@lane_function
def pack_header(s, lane, block):
    """Write scale and minimum (negated, as the file has it) of row `lane` to the first four bytes of `block`."""
    store_half(block, 0, half_bits(s.scale[lane]))
    store_half(block, 2, half_bits(-s.minimum[lane]))


@lane_function
def codes_of(rows, at, s, lane, search, importance):
    """Codes, Ints, of sixteen neighbours of row `lane` from flat index `at`."""
    scaled = (load(rows, at) - s.offset[lane]) * s.inverse[lane]
    if importance is not None:
        return truncated(affine_codes(scaled, search))
    # Half up. Where a tiny scale has an infinite inverse, x86-64's cast of the infinity or NaN leaves a zero byte.
    half_up = scaled + _HALF
    half_up = select(half_up < _TOO_LARGE, half_up, splat(_ZERO))
    return truncated(select(half_up > search.top, splat(search.top), half_up))
