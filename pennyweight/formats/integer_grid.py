"""Integer grids: INT2 to INT8, one scale for each group of columns or each row, symmetric or with zero points.

    symmetric     scale = max|w| · 2 / (2^bits − 1)       zero_point = 2^(bits − 1)
    asymmetric    scale = (max − min) / (2^bits − 1)      zero_point = round(−min / scale), 0 always between min and max

Scales are float16 numbers, as checkpoints store them. With a search, the range is shrunk in steps and the one of least
Σ importance · (w − q)² wins.

Source: compressed-tensors quantization/utils/helpers.py `calculate_qparams`; the search: IST-DASLab/gptq quant.py
`find_params` (there with the exponent 2.4, no importance and 80 steps down to a fifth of the range).
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from pennyweight.formats.base import Codes, Floats
from pennyweight.formats.codes import IntegerCodes
from pennyweight.formats.grid import Grid, Parameters
from pennyweight.formats.search import ordered_sum

SHRINK_STEPS, LEAST_RANGE = 20, 0.5
"""Ranges tried by a search: from the whole down to half of it."""

LARGEST_SCALE = np.float32(65504)  # float16's

ScaleSearch = Callable[[Floats, Floats | None, int, bool], tuple[Floats, Floats]]
"""(weights (rows, groups, n), importance (groups, n) or None, bits, symmetric) → scale, zero point, (rows, groups)."""


def integer_grid(bits: int, group_size: int, symmetric: bool, search: ScaleSearch, searches: bool = False) -> Grid:
    """The grid of `bits` (2 to 8) and `group_size` columns for one scale, 0 for one scale per row.

    `search` fits the grid that `with_search` returns, and this one where it `searches`.
    """
    return Grid(
        name=f"INT{bits}" + (f"_G{group_size}" if group_size else "") + ("" if symmetric else "_ASYM"),
        top=2**bits - 1,
        group_size=group_size,
        unit=group_size,
        ragged=True,
        levels=None,
        fit_rows=partial(_fit, bits, group_size, symmetric, search if searches else least_and_greatest),
        pack_codes=partial(_pack, bits, group_size, symmetric),
        stored_bits=partial(_stored_bits, bits, group_size, symmetric),
        searching=None if searches else partial(integer_grid, bits, group_size, symmetric, search, True),
    )


def least_and_greatest(x: Floats, importance: Floats | None, bits: int, symmetric: bool) -> tuple[Floats, Floats]:
    """Scale and zero point from the extremes alone, (..., n) → (...) each."""
    del importance
    low, high = np.minimum(x.min(axis=-1), 0), np.maximum(x.max(axis=-1), 0)
    return range_to_scale(low, high, bits, symmetric)


def range_to_scale(low: Floats, high: Floats, bits: int, symmetric: bool) -> tuple[Floats, Floats]:
    """Scale (a float16 number, in float32) and zero point of the range low ≤ 0 ≤ high."""
    top = np.float32(2**bits - 1)
    if symmetric:
        scale = _half(np.maximum(-low, high) * (np.float32(2) / top))
        return scale, np.full_like(scale, 2 ** (bits - 1))
    scale = _half((high - low) / top)
    usable = scale > 0
    zero = np.where(usable, np.rint((0 - low) / np.where(usable, scale, np.float32(1))), np.float32(0))
    return scale, np.clip(zero, 0, top)


def search_scale(x: Floats, importance: Floats | None, bits: int, symmetric: bool) -> tuple[Floats, Floats]:
    """Scale and zero point of the shrunken range with the least Σ importance · (x − q)², summed in order; the widest of
    equals. The slow twin of `pennyweight.kernels.range_search`."""
    low, high = np.minimum(x.min(axis=-1), 0), np.maximum(x.max(axis=-1), 0)
    best = np.full(low.shape, np.inf, np.float32)
    scale, zero = np.zeros_like(low), np.zeros_like(low)
    for part in range_parts():
        tried_scale, tried_zero = range_to_scale(low * part, high * part, bits, symmetric)
        error = _squared_error(x, importance, tried_scale, tried_zero, bits)
        better = error < best
        best, scale, zero = (
            np.where(better, new, old) for new, old in ((error, best), (tried_scale, scale), (tried_zero, zero))
        )
    return scale, zero


def range_parts() -> Floats:
    """The fractions of the range that a search tries, the whole first."""
    return np.linspace(1, LEAST_RANGE, SHRINK_STEPS + 1, dtype=np.float32)


def _squared_error(x: Floats, importance: Floats | None, scale: Floats, zero: Floats, bits: int) -> Floats:
    usable = (scale > 0)[..., None]
    scale, zero = scale[..., None], zero[..., None]
    code = np.clip(np.rint(x / np.where(usable, scale, np.float32(1))) + zero, 0, 2**bits - 1)
    error = np.where(usable, scale * (code - zero) - x, -x)
    squared = error * error
    return ordered_sum(squared if importance is None else squared * importance)


def _half(scale: Floats) -> Floats:
    """The nearest float16 number, in float32; no negative zero."""
    return np.minimum(scale, LARGEST_SCALE).astype(np.float16).astype(np.float32) + np.float32(0)


def _fit(
    bits: int, group_size: int, symmetric: bool, search: ScaleSearch, weight: Floats, importance: Floats | None
) -> Parameters:
    rows, columns = weight.shape
    size = group_size or columns
    whole = columns // size * size
    found = []
    for first, last, width in ((0, whole, size), (whole, columns, columns - whole)):  # the last group may be short
        if first < last:
            x = weight[:, first:last].reshape(rows, -1, width)
            weights = None if importance is None else importance[first:last].reshape(-1, width)
            found.append(search(x, weights, bits, symmetric))
    scale, zero = (np.concatenate(parts, axis=1).astype(np.float32) for parts in zip(*found, strict=True))
    return Parameters(step=scale, zero=zero, minimum=np.zeros_like(scale))


def _pack(bits: int, group_size: int, symmetric: bool, codes: Codes, parameters: Parameters) -> IntegerCodes:
    return IntegerCodes(
        bits=bits,
        group_size=group_size or codes.shape[1],
        symmetric=symmetric,
        codes=codes,
        scale=parameters.step,
        zero_point=parameters.zero.astype(np.uint8),
    )


def _stored_bits(bits: int, group_size: int, symmetric: bool, rows: int, columns: int) -> float:
    groups = -(-columns // (group_size or columns))
    return rows * (columns * bits + groups * (16 + (0 if symmetric else bits)))
