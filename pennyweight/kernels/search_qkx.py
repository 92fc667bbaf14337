"""The affine search, sixteen groups abreast: x ≈ scale · code − minimum for each group.

Twin of `make_qkx` in `pennyweight.formats.search`, operation by operation: a lane is a group, so that each sum runs in
the reference's order. Arrays are flat float32, sixteen lanes per element.

One liberty that leaves the bytes alone: of the winner only the inverse and the offset that gave its codes are kept. The
codes themselves matter where a stored scale is zero, and are computed again there.

Source: llama.cpp ggml-quants.c (b11549) `make_qkx2_quants`, `make_qkx3_quants`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.search import AffineSearch
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.rounding import nearest, rounded
from pennyweight.kernels.simd import LANES, any_lane, magnitude, select, splat
from pennyweight.kernels.simd_memory import load, store

_ZERO, _ONE, _MINUS_ONE, _INFINITE = np.float32(0), np.float32(1), np.float32(-1), np.float32(np.inf)


class Search(NamedTuple):
    """`AffineSearch` as Numba can carry it: float32 where the arithmetic is."""

    top: np.float32
    start: np.float32
    stride: np.float32
    steps: int
    absolute_error: bool
    clamp_first: bool


class Group(NamedTuple):
    """Sixteen groups of `count` numbers, flat float32.

    Attributes:
        x: the numbers, from index `at`.
        weights: the weight of each squared (or absolute) error, from 0.
        codes: work space of the same size as `weights`.
    """

    x: NDArray[np.float32]
    at: int
    count: int
    weights: NDArray[np.float32]
    codes: NDArray[np.float32]


def compiled(search: AffineSearch) -> Search:
    """The same search for a kernel, to be held in a module's constant."""
    top, start, stride = np.float32(search.top), np.float32(search.start), np.float32(search.stride)
    return Search(top, start, stride, search.steps, search.absolute_error, search.clamp_first)


@lane_function
def clamp(value, top):
    """Into 0..top; NaN becomes 0."""
    value = select(value > _ZERO, value, splat(_ZERO))
    return select(value < top, value, splat(top))


@lane_function
def affine_codes(scaled, search):
    """Round and clamp to 0..top, in the order that the search has; whole Floats."""
    if search.clamp_first:
        return rounded(clamp(scaled, search.top))
    return clamp(nearest(scaled), search.top)


@lane_function
def fit_affine(group, search):
    """x ≈ scale · code − minimum for each lane of a `Group`.

    Returns:
        scale, minimum ≥ 0, and the inverse and offset that gave the codes: `affine_codes(inverse · (x − offset))`.
    """
    low, high, sum_w, sum_x = _extremes(group)
    flat = high == low
    inverse = splat(search.top) / (high - low)
    scale = splat(_ONE) / inverse
    _first_codes(group, inverse, low, search)
    best = _error(group, scale, low, search)
    # An infinite inverse has given codes of 0; where clamping comes before rounding, it would give `top` next time.
    won_inverse, won_offset = select(inverse < _INFINITE, inverse, splat(_ZERO)), low
    for k in range(search.steps + 1):
        # `low` is the best fit so far, not the least x: the reference overwrites it.
        inverse = splat(search.start + search.stride * np.float32(k) + search.top) / (high - low)
        sum_l, sum_l2, sum_xl = _sums(group, inverse, low, search)
        determinant = sum_w * sum_l2 - sum_l * sum_l
        new_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
        new_low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
        positive = new_low > _ZERO
        if any_lane(positive):  # seldom, and a division
            new_scale = select(positive, sum_xl / sum_l2, new_scale)
            new_low = select(positive, splat(_ZERO), new_low)
        error = _error(group, new_scale, new_low, search)
        better = (determinant > _ZERO) & (error < best)
        won_inverse, won_offset = select(better, inverse, won_inverse), select(better, low, won_offset)
        best, scale, low = select(better, error, best), select(better, new_scale, scale), select(better, new_low, low)
    zero = splat(_ZERO)
    scale, won_inverse = select(flat, zero, scale), select(flat, zero, won_inverse)
    return scale, low * _MINUS_ONE, won_inverse, won_offset  # 0 - low would lose the sign of a zero


@lane_function
def _extremes(group):
    """The least x (or 0) and the greatest, Σ w and Σ w·x."""
    low = load(group.x, group.at)
    high, sum_w = low, load(group.weights, 0)
    sum_x = sum_w * low
    for i in range(1, group.count):
        value, weight = load(group.x, group.at + i * LANES), load(group.weights, i * LANES)
        low, high = select(value < low, value, low), select(value > high, value, high)
        sum_w = sum_w + weight
        sum_x = sum_x + weight * value
    return select(low > _ZERO, splat(_ZERO), low), high, sum_w, sum_x


@lane_function
def _first_codes(group, inverse, low, search):
    """The codes of the plain scale, which are rounded first and then clamped in every search."""
    for i in range(group.count):
        scaled = inverse * (load(group.x, group.at + i * LANES) - low)
        store(group.codes, i * LANES, clamp(nearest(scaled), search.top))


@lane_function
def _sums(group, inverse, low, search):
    """Σ w·l, Σ (w·l)·l and Σ (w·l)·x over the codes of one candidate, which are stored."""
    sum_l, sum_l2, sum_xl = splat(_ZERO), splat(_ZERO), splat(_ZERO)
    for i in range(group.count):
        value = load(group.x, group.at + i * LANES)
        code = affine_codes(inverse * (value - low), search)
        store(group.codes, i * LANES, code)
        weighted = load(group.weights, i * LANES) * code
        sum_l = sum_l + weighted
        sum_l2 = sum_l2 + weighted * code
        sum_xl = sum_xl + weighted * value
    return sum_l, sum_l2, sum_xl


@lane_function
def _error(group, scale, low, search):
    """Σ w·e² or Σ w·|e|, e = scale · l + low − x."""
    total = splat(_ZERO)
    for i in range(group.count):
        error = scale * load(group.codes, i * LANES) + low - load(group.x, group.at + i * LANES)
        size = magnitude(error) if search.absolute_error else error * error
        total = total + load(group.weights, i * LANES) * size
    return total
