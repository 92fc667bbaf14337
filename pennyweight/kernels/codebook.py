"""What IQ4_NL and IQ4_XS share, fast: the nearest of sixteen values, and the search for a scale.

The nearest value is found by a chain of fifteen comparisons: no branch, no gather, quick on every instruction set.
(Four halvings through a permutation are 7 % faster with AVX-512, but with AVX2, which permutes no sixteen, seven times
slower.)

Formula: `pennyweight.formats.codebook`. Source: llama.cpp ggml-quants.c `best_index_int8`, `quantize_row_iq4_nl_impl`.
"""

import numpy as np

from pennyweight.formats.codebook import TRIES, VALUES
from pennyweight.formats.search import TOO_SMALL
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.search_qx import largest
from pennyweight.kernels.simd import magnitude, select, splat
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes

_ZERO, _ONE = np.float32(0), np.float32(1)
_LOWEST, _MINUS_LOWEST = VALUES[0], -VALUES[0]
_MIDPOINTS = (VALUES[:-1] + VALUES[1:]) / np.float32(2)
"""Where one value stops being the nearest. A midpoint itself belongs to the value above, and NaN, which is below none
of them, to the last: so ggml's binary search has it, whose two float32 distances are both exact near a midpoint."""


@lane_function
def nearest_value(x):
    """Floats → the nearest of `VALUES`."""
    value = splat(_LOWEST)
    for i in range(15):
        value = select(x < _MIDPOINTS[i], value, splat(VALUES[i + 1]))
    return value


@lane_function
def nearest_code(x):
    """Floats → Ints 0..15: the place of the nearest of `VALUES`."""
    code = splat(0)
    for i in range(15):
        code = select(x < _MIDPOINTS[i], code, splat(i + 1))
    return code


@lane_function
def value_of(code):
    """Ints 0..15 → `VALUES` there."""
    value = splat(_LOWEST)
    for i in range(1, 16):
        value = select(code < i, value, splat(VALUES[i]))
    return value


@lane_function
def search_scale(x, w):
    """The scale of each of sixteen blocks of 32 that fits best among those of fifteen neighbouring factors.

    Args:
        x, w: tiles of 32 weights and of how much each matters.

    Returns:
        Floats, 0 where the block is too small.
    """
    extreme = largest(x, 0, 32)
    sum_wqx, sum_wqq = _sums(x, w, splat(_ONE) / (extreme / _MINUS_LOWEST))
    scale = select(sum_wqq > _ZERO, sum_wqx / sum_wqq, splat(_ZERO))
    best = scale * sum_wqx
    for step in range(-TRIES, TRIES + 1):
        sum_wqx, sum_wqq = _sums(x, w, splat(np.float32(step) + _LOWEST) / extreme)
        better = (sum_wqq > _ZERO) & (sum_wqx * sum_wqx > best * sum_wqq)
        scale = select(better, sum_wqx / sum_wqq, scale)
        best = select(better, scale * sum_wqx, best)
    return select(magnitude(extreme) < TOO_SMALL, splat(_ZERO), scale)


@lane_function
def _sums(x, w, inverse):
    """Σ w·q·x and Σ w·q·q over the values q nearest to inverse · x."""
    sum_wqx, sum_wqq = splat(_ZERO), splat(_ZERO)
    for i in range(32):
        number = load(x, 16 * i)
        value = nearest_value(inverse * number)
        weighted = load(w, 16 * i) * value
        sum_wqx = sum_wqx + weighted * number
        sum_wqq = sum_wqq + weighted * value
    return sum_wqx, sum_wqq


@lane_function
def write_codes(source, start, scale, data, at):
    """The codes of 32 weights for a scale (0 gives all the code of 0): one, and the one sixteen on, in a byte."""
    inverse = _ONE / scale if scale != _ZERO else _ZERO
    low = nearest_code(load(source, start) * inverse)
    high = nearest_code(load(source, start + 16) * inverse)
    store_bytes(data, at, low | high << 4)


@lane_function
def read_codes(data, at, scale, target, start):
    """What `write_codes` wrote → 32 weights."""
    codes = load_bytes(data, at)
    store(target, start, value_of(codes & 15) * scale)
    store(target, start + 16, value_of(codes >> 4) * scale)
