"""Sixteen super-blocks of 256 weights abreast: what the encoders of Q2_K, Q4_K and Q5_K share.

A lane is a row: the same super-block of sixteen rows is searched at once, so that a column's importance is one number
for all lanes. The tile is transposed for the search; the codes are then rounded row by row, sixteen neighbours at a
time, as the bytes want them.

Source: llama.cpp ggml-quants.c (b11549), the common part of `quantize_row_q{2,4,5}_K_{ref,impl}`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.superblock import SIZE
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.rounding import nearest
from pennyweight.kernels.search_qkx import Group, Search, affine_codes, clamp, fit_affine
from pennyweight.kernels.search_qp import as_byte, fit_scales
from pennyweight.kernels.simd import LANES, select, splat, square_root
from pennyweight.kernels.simd_memory import load, store, transpose

_ZERO, _SIZE = np.float32(0), np.float32(SIZE)
_GROUPS = 16  # the most that a format has (Q2_K)

Floats = NDArray[np.float32]


class Scratch(NamedTuple):
    """Work space of one tile, flat float32 with sixteen lanes (rows) per element; `steps` and `minimums` of one row.

    Attributes:
        x: the 256 weights of each row's super-block.
        weights, codes: of one sub-block of at most 32, during its search.
        scale, minimum, inverse, offset: what the search found for each sub-block (`fit_affine`).
        total: sum of each sub-block's weights.
        scale_code, minimum_code: whole numbers 0..255 that stand for scale and minimum.
        unit: d and dmin.
        steps: d · scale and dmin · minimum of each sub-block as a reader sees them, (2, 16), of the row being packed.
    """

    x: Floats
    weights: Floats
    codes: Floats
    scale: Floats
    minimum: Floats
    inverse: Floats
    offset: Floats
    total: Floats
    scale_code: Floats
    minimum_code: Floats
    unit: Floats
    steps: Floats


class Weighted(NamedTuple):
    """How a format searches with importance: sub-blocks of `count`, σ² = `factor` · mean x², scale codes 0..`top`."""

    search: Search
    count: int
    factor: np.float32
    top: np.float32


@lane_function
def new_scratch():
    """A `Scratch`, uninitialised."""
    x, pair = np.empty(SIZE * LANES, np.float32), np.empty((2, 32 * LANES), np.float32)
    found, unit = np.empty((7, _GROUPS * LANES), np.float32), np.empty(2 * LANES, np.float32)
    steps = np.empty((2, _GROUPS), np.float32)
    searched = found[0], found[1], found[2], found[3]
    return Scratch(x, pair[0], pair[1], *searched, found[4], found[5], found[6], unit, steps)


@lane_function
def gather(rows, first, column, count, target):
    """target[i · 16 + lane] = rows[first + lane, column + i] for i in 0..count − 1, a multiple of sixteen."""
    stride = rows.shape[1]
    for i in range(0, count, LANES):
        transpose(rows, first * stride + column + i, stride, target, i * LANES)


@lane_function
def mean_square(x, factor):
    """σ² = factor · Σ x² / 256 of each lane."""
    total = splat(_ZERO)
    for i in range(SIZE):
        value = load(x, i * LANES)
        total = total + value * value
    return total * factor / _SIZE


@lane_function
def weigh(s, at, importance, column, count, variance):
    """s.weights = importance · √(σ² + x²) of `count` columns, x from flat index `at` of the tile; returns their sum."""
    total = splat(_ZERO)
    for i in range(count):
        value = load(s.x, at + i * LANES)
        weight = splat(importance[column + i]) * square_root(variance + value * value)
        store(s.weights, i * LANES, weight)
        total = total + weight
    return total


@lane_function
def search_group(s, group, count, search):
    """Fit sub-block `group` of `count` numbers with the weights at hand, and keep what was found."""
    at = group * LANES
    numbers = Group(s.x, group * count * LANES, count, s.weights, s.codes)
    scale, minimum, inverse, offset = fit_affine(numbers, search)
    store(s.scale, at, scale)
    store(s.minimum, at, minimum)
    store(s.inverse, at, inverse)
    store(s.offset, at, offset)


@lane_function
def search_weighted(s, importance, column, how):
    """All sub-blocks with importance, `how` being `Weighted`: affine fits, then both their numbers as code · unit."""
    variance = mean_square(s.x, how.factor)
    groups = SIZE // how.count
    for group in range(groups):
        at = group * how.count
        store(s.total, group * LANES, weigh(s, at * LANES, importance, column + at, how.count, variance))
        search_group(s, group, how.count, how.search)
    store(s.unit, 0, fit_scales(s.scale, s.total, s.scale_code, groups, how.top))
    store(s.unit, LANES, fit_scales(s.minimum, s.total, s.minimum_code, groups, how.top))


@lane_function
def code_by_largest(values, codes, count, top):
    """Numbers ≥ 0 as code · unit, the largest becoming `top`; returns the unit."""
    largest = splat(_ZERO)
    for i in range(count):
        value = load(values, i * LANES)
        largest = select(value > largest, value, largest)
    inverse = select(largest > _ZERO, splat(top) / largest, splat(_ZERO))
    for i in range(count):
        store(codes, i * LANES, as_byte(nearest(inverse * load(values, i * LANES))))
    return largest / top


@lane_function
def round_again(rows, at, s, group, lane, search):
    """Codes, whole Floats, of sixteen neighbours at flat index `at`, rounded with the steps that a reader sees.

    Where the stored scale is zero, the codes stay those of the search.
    """
    x, step = load(rows, at), s.steps[0, group]
    if step != _ZERO:
        return clamp(nearest((x + s.steps[1, group]) / step), search.top)
    place = group * LANES + lane
    return affine_codes((x - s.offset[place]) * s.inverse[place], search)


def encode_in_tiles(
    kernel: Callable[..., None], rows: Floats, importance: Floats | None, out: NDArray[np.uint8]
) -> None:
    """Call kernel(rows, importance, out) on whole tiles of sixteen rows, the last one filled up with zeros."""
    whole = len(rows) // LANES * LANES
    if whole:
        kernel(rows[:whole], importance, out[:whole])
    if whole < len(rows):
        rest = np.zeros((LANES, rows.shape[1]), np.float32)
        rest[: len(rows) - whole] = rows[whole:]
        rest.flags.writeable = False  # the type that the kernel is compiled for
        spare = np.empty((LANES, out.shape[1]), np.uint8)
        kernel(rest, importance, spare)
        out[whole:] = spare[: len(rows) - whole]
