"""The searches that choose scales and codes: float32 as C computes it, over all groups at once.

Arrays are (..., n): the last axis is one group of n numbers that share a scale, the others are groups side by side.
Sums run strictly from the first number to the last, multiplications stay in C's order and nothing is fused, because the
bytes depend on the last bit of every comparison. Division by zero and overflow are part of the definition (infinity and
NaN lose every comparison), so callers silence NumPy's warnings: `BlockFormat.encode` does.

Source: llama.cpp ggml-quants.c (b11549), the functions named in each docstring.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.base import Codes, Floats

TOO_SMALL = np.float32(1e-15)
"""A group whose largest magnitude is below this counts as zero (`GROUP_MAX_EPS`)."""

TENTH = np.float32(0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineSearch:
    """What `make_qkx` tries: scales (start + stride · k + top) / range for k in 0..steps, codes in 0..top.

    Attributes:
        absolute_error: weigh |error| instead of error².
        clamp_first: clamp before rounding (`make_qkx3_quants`), which matters where the range is nearly nothing.
    """

    top: int
    start: float
    stride: float
    steps: int
    absolute_error: bool = False
    clamp_first: bool = False


def weighted_search(top: int) -> AffineSearch:
    """What every format with a minimum tries where there is an importance: 37 scales, squared errors."""
    return AffineSearch(top=top, start=-0.9, stride=0.05, steps=36, clamp_first=True)


def nearest_int(value: Floats) -> NDArray[np.int32]:
    """Round half to even through the mantissa, as `nearest_int`: out of ±2²² it gives that function's other numbers."""
    shifted = (value + np.float32(12582912.0)).view(np.int32)
    return (shifted & 0x007FFFFF) - 0x00400000


def ordered_sum(terms: Floats) -> Floats:
    """Σ over the last axis from zero, strictly from left to right, (..., n) → (...)."""
    # The zero is C's start: it turns -0.0 into 0.0.
    return sum_from_first(terms) + np.float32(0)


def sum_from_first(terms: Floats) -> Floats:
    """`ordered_sum` that starts with the first term, as some of C's do: -0.0 stays -0.0, and its sign is stored."""
    # np.sum adds in pairs; accumulate is sequential by definition.
    return np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1]


def largest_magnitude(x: Floats) -> Floats:
    """The signed number of largest magnitude, the first of equals, (..., n) → (...); NaN is passed over, none is 0."""
    magnitude = np.fmax(np.abs(x), np.float32(0))
    place = magnitude.argmax(axis=-1)[..., None]
    found = np.where(magnitude > 0, x, np.float32(0))
    return np.take_along_axis(found, place, axis=-1)[..., 0]


def extremes(x: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest number, (..., n) → (...) each; the first of equals: a stored zero has a sign."""
    low, high = (
        np.take_along_axis(x, place(x, axis=-1)[..., None], axis=-1)[..., 0] for place in (np.argmin, np.argmax)
    )
    return low, high


def importance_weights(x: Floats, importance: Floats, mean_square: Floats) -> Floats:
    """importance · √(σ² + x²), the weight of each squared error; `mean_square` σ² broadcasts over the last axis."""
    return importance * np.sqrt(mean_square[..., None] + x * x)


def make_qx(x: Floats, weights: Floats, top: int) -> tuple[Floats, Codes]:
    """`make_qx_quants`: one signed scale, x ≈ scale · (code − top), nineteen scales tried.

    Args:
        x: float32 (..., n).
        weights: float32, broadcasts to x; the weight of each squared error.
        top: codes − top lie in −top..top − 1.

    Returns:
        scale (...) and codes (..., n); both zero for a group below `TOO_SMALL`.
    """
    largest = largest_magnitude(x)
    scale, best, codes = np.zeros_like(largest), np.zeros_like(largest), np.zeros(x.shape, np.uint8)
    for step in (0, *range(-9, 0), *range(1, 10)):
        inverse = -(np.float32(top) + TENTH * step) / largest
        tried = np.clip(nearest_int(inverse[..., None] * x), -top, top - 1)
        sum_lx, sum_l2 = _symmetric_sums(x, weights, tried.astype(np.float32))
        # The first try is taken whatever it gives; the others must be strictly better.
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2) if step else np.full(largest.shape, True)
        fitted = np.where(sum_l2 != 0, sum_lx / sum_l2, np.float32(0))
        scale, best = np.where(better, fitted, scale), np.where(better, fitted * sum_lx, best)
        codes = np.where(better[..., None], (tried + top).astype(np.uint8), codes)
    return _zero_where(np.abs(largest) < TOO_SMALL, scale, codes)


def make_q3(x: Floats, top: int) -> tuple[Floats, Codes]:
    """`make_q3_quants`: the first try of `make_qx` with weights x², then codes improved one at a time.

    Returns:
        scale (...) and codes (..., n), x ≈ scale · (code − top); both zero for a group below `TOO_SMALL`.
    """
    largest, weights = largest_magnitude(x), x * x
    first = np.clip(nearest_int((-np.float32(top) / largest)[..., None] * x), -top, top - 1)
    scale, codes = _descend(x, weights, first, -top, top - 1, np.int8)
    return _zero_where(np.abs(largest) < TOO_SMALL, scale, (codes + top).astype(np.uint8))


def make_qp(x: Floats, weights: Floats, top: int) -> tuple[Floats, Codes]:
    """`make_qp_quants`: one scale for numbers ≥ 0, x ≈ scale · code: nine scales tried, then codes improved.

    Used for the scales and minimums of sub-blocks themselves. Arguments and results as `make_qx`, codes in 0..top.
    """
    largest = np.maximum(x.max(axis=-1), np.float32(0))
    inverse, best = np.zeros_like(largest), np.zeros_like(largest)
    for step in (0, *range(-4, 0), *range(1, 5)):
        tried = (TENTH * step + np.float32(top)) / largest
        codes = nearest_int(tried[..., None] * x)
        # The first try is not clamped, but wraps into the byte that holds it.
        codes = np.minimum(codes, top) if step else codes & 255
        error = x - (np.float32(1) / tried)[..., None] * codes.astype(np.float32)
        total = ordered_sum(weights * error * error)
        better = total < best if step else np.full(largest.shape, True)
        inverse, best = np.where(better, tried, inverse), np.where(better, total, best)
    first = np.minimum(nearest_int(inverse[..., None] * x), top)
    scale, codes = _descend(x, weights, first, -(1 << 22), top, np.uint8)  # nearest_int gives no less than −2²²
    return _zero_where(largest < TOO_SMALL, scale, codes)


def make_qkx(x: Floats, weights: Floats, search: AffineSearch) -> tuple[Floats, Floats, Codes]:
    """`make_qkx2_quants` and `make_qkx3_quants`: a scale and a minimum, x ≈ scale · code − minimum.

    Each candidate scale gives codes; least squares over those codes gives a scale and a minimum; the least error wins.

    Returns:
        scale (...), minimum (...) ≥ 0, codes (..., n) in 0..top.
    """
    top = np.float32(search.top)
    low, highest = extremes(x)
    low = np.where(low > 0, np.float32(0), low)
    flat = highest == low
    sum_w, sum_x = sum_from_first(np.broadcast_to(weights, x.shape)), sum_from_first(weights * x)
    inverse = top / (highest - low)
    scale = np.float32(1) / inverse
    codes = np.clip(nearest_int(inverse[..., None] * (x - low[..., None])), 0, search.top).astype(np.uint8)
    best = _affine_error(x, weights, scale, low, codes, search)
    for k in range(search.steps + 1):
        # `low` is the best fit so far, not the least x: the reference overwrites it.
        inverse = (np.float32(search.start) + np.float32(search.stride) * k + top) / (highest - low)
        tried = _affine_codes(inverse[..., None] * (x - low[..., None]), search)
        new_scale, new_low, solvable = _affine_fit(x, weights, tried.astype(np.float32), sum_w, sum_x)
        error = _affine_error(x, weights, new_scale, new_low, tried, search)
        better = solvable & (error < best)
        best, scale, low = (np.where(better, a, b) for a, b in ((error, best), (new_scale, scale), (new_low, low)))
        codes = np.where(better[..., None], tried, codes)
    scale, codes = _zero_where(flat, scale, codes)
    return scale, -low, codes


def _symmetric_sums(x: Floats, weights: Floats, codes: Floats) -> tuple[Floats, Floats]:
    """Σ (w·x)·l and Σ (w·l)·l."""
    return ordered_sum(weights * x * codes), ordered_sum(weights * codes * codes)


def _descend(
    x: Floats, weights: Floats, first: NDArray[np.int32], low: int, high: int, byte: type[np.integer]
) -> tuple[Floats, NDArray[np.integer]]:
    """Coordinate descent on the codes from `first`: at most five sweeps, each code in turn, clamped to low..high.

    Codes live in a `byte`. One out of its range counts in the sums as it is, but wraps where it is stored, as in C.

    Returns:
        scale (...) and codes (..., n).
    """
    sum_lx, sum_l2 = _symmetric_sums(x, weights, first.astype(np.float32))
    codes, weights = first.astype(byte), np.broadcast_to(weights, x.shape)
    for _ in range(5):
        before = codes.copy()
        for i in range(x.shape[-1]):
            xi, wi, old = x[..., i], weights[..., i], codes[..., i].astype(np.float32)
            rest_lx, rest_l2 = sum_lx - wi * xi * old, sum_l2 - wi * old * old
            new_code = np.clip(nearest_int(xi * rest_l2 / rest_lx), low, high)
            new = new_code.astype(np.float32)
            new_lx, new_l2 = rest_lx + wi * xi * new, rest_l2 + wi * new * new
            better = (rest_lx > 0) & (new != old) & (new_l2 > 0)
            better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
            if byte is np.uint8:
                better &= rest_l2 > 0
            codes[..., i] = np.where(better, new_code.astype(byte), codes[..., i])
            sum_lx, sum_l2 = np.where(better, new_lx, sum_lx), np.where(better, new_l2, sum_l2)
        if (codes == before).all():
            break
    return np.where(sum_l2 > 0, sum_lx / sum_l2, np.float32(0)), codes


def _affine_codes(scaled: Floats, search: AffineSearch) -> Codes:
    """Round and clamp to 0..top, in the order the reference has."""
    if search.clamp_first:
        clamped = np.where(scaled > 0, np.minimum(scaled, np.float32(search.top)), np.float32(0))
        return nearest_int(clamped).astype(np.uint8)
    return np.clip(nearest_int(scaled), 0, search.top).astype(np.uint8)


def _affine_fit(
    x: Floats, weights: Floats, codes: Floats, sum_w: Floats, sum_x: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Weighted least squares of x on the codes: scale, low ≤ 0, and whether the equations have a solution."""
    sum_l, sum_l2, sum_xl = (ordered_sum(t) for t in _affine_terms(x, weights, codes))
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    positive = low > 0
    scale = np.where(positive, sum_xl / sum_l2, scale)
    return scale, np.where(positive, np.float32(0), low), determinant > 0


def _affine_terms(x: Floats, weights: Floats, codes: Floats) -> tuple[Floats, Floats, Floats]:
    """The terms of Σ w·l, Σ (w·l)·l and Σ (w·l)·x."""
    weighted = weights * codes
    return weighted, weighted * codes, weighted * x


def _affine_error(x: Floats, weights: Floats, scale: Floats, low: Floats, codes: Codes, search: AffineSearch) -> Floats:
    """Σ w·|e| or Σ w·e², e = scale · l + low − x."""
    error = scale[..., None] * codes + low[..., None] - x
    return ordered_sum(weights * (np.abs(error) if search.absolute_error else error * error))


def _zero_where(group: NDArray[np.bool_], scale: Floats, codes: Codes) -> tuple[Floats, Codes]:
    """Scale and codes with those of the chosen groups set to zero."""
    return np.where(group, np.float32(0), scale), np.where(group[..., None], np.uint8(0), codes)
