"""The search for a scale of numbers ≥ 0, sixteen groups abreast: x ≈ scale · code. It rounds the scales of sub-blocks.

Twin of `make_qp` in `pennyweight.formats.search`, operation by operation: a lane is a super-block, a number the scale
or the minimum of one of its sub-blocks. Arrays are flat float32, sixteen lanes per number.

A lane whose codes no longer change goes on sweeping with the others, which changes nothing.

Source: llama.cpp ggml-quants.c (b11549) `make_qp_quants`.
"""

import numpy as np

from pennyweight.formats.search import TENTH, TOO_SMALL
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.rounding import nearest
from pennyweight.kernels.simd import LANES, any_lane, select, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load, store

_ZERO, _ONE = np.float32(0), np.float32(1)


@lane_function
def as_byte(whole):
    """C's conversion of an int to uint8: modulo 256."""
    return to_floats(truncated(whole) & 255)


@lane_function
def fit_scales(x, weights, codes, count, top):
    """x ≈ scale · code for sixteen groups.

    Args:
        x, weights: `count` numbers of each group, and the weight of their squared errors.
        codes: filled with whole numbers 0..top.

    Returns:
        scale; 0, and codes of 0, for a group below `TOO_SMALL`.
    """
    largest = splat(_ZERO)
    for i in range(count):
        value = load(x, i * LANES)
        largest = select(largest > value, largest, value)
    inverse = _best_inverse(x, weights, count, largest, top)
    sum_lx, sum_l2 = splat(_ZERO), splat(_ZERO)
    for i in range(count):
        value, weight = load(x, i * LANES), load(weights, i * LANES)
        code = _at_most(nearest(inverse * value), top)
        store(codes, i * LANES, as_byte(code))
        sum_lx = sum_lx + weight * value * code
        sum_l2 = sum_l2 + weight * code * code
    for _ in range(5):
        sum_lx, sum_l2, changed = _sweep(x, weights, codes, count, sum_lx, sum_l2, top)
        if not changed:
            break
    small, zero = largest < TOO_SMALL, splat(_ZERO)
    for i in range(count):
        store(codes, i * LANES, select(small, zero, load(codes, i * LANES)))
    return select(small, zero, select(sum_l2 > _ZERO, sum_lx / sum_l2, zero))


@lane_function
def _at_most(value, top):
    return select(value < top, value, splat(top))


@lane_function
def _best_inverse(x, weights, count, largest, top):
    """Of nine inverse scales the one with the least Σ w·e²; the plain one is tried first."""
    won = splat(top) / largest
    scale, best = splat(_ONE) / won, splat(_ZERO)
    for i in range(count):
        # The first try is not clamped, but wraps into the byte that holds it.
        error = load(x, i * LANES) - scale * as_byte(nearest(won * load(x, i * LANES)))
        best = best + load(weights, i * LANES) * error * error
    for k in range(-4, 5):
        if k != 0:
            inverse = splat(TENTH * np.float32(k) + top) / largest
            scale, total = splat(_ONE) / inverse, splat(_ZERO)
            for i in range(count):
                error = load(x, i * LANES) - scale * _at_most(nearest(inverse * load(x, i * LANES)), top)
                total = total + load(weights, i * LANES) * error * error
            better = total < best
            best, won = select(better, total, best), select(better, inverse, won)
    return won


@lane_function
def _sweep(x, weights, codes, count, sum_lx, sum_l2, top):
    """One sweep of coordinate descent: each code in turn takes its best value where that lowers the error."""
    changed = False
    for i in range(count):
        value, weight, old = load(x, i * LANES), load(weights, i * LANES), load(codes, i * LANES)
        rest_lx, rest_l2 = sum_lx - weight * value * old, sum_l2 - weight * old * old
        new = _at_most(nearest(value * rest_l2 / rest_lx), top)
        new_lx, new_l2 = rest_lx + weight * value * new, rest_l2 + weight * new * new
        different = (new > old) | (new < old)
        better = (rest_lx > _ZERO) & (rest_l2 > _ZERO) & different
        better = better & (new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2)
        store(codes, i * LANES, select(better, as_byte(new), old))
        sum_lx, sum_l2 = select(better, new_lx, sum_lx), select(better, new_l2, sum_l2)
        changed = changed or any_lane(better)
    return sum_lx, sum_l2, changed
