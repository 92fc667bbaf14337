"""Scales and zero points of SpQR's groups: searched as real numbers, then as pairs of 3-bit codes.

1. The range of a group is shrunk in steps; scale and zero point of the one with the least Σ cost · (w − q)² are kept.
2. Scales of sixteen rows are spread over eight codes from their extremes, and so are zero points (`second_order`).
3. Of the 64 pairs that a group can then have, the one with the least Σ cost · (w − q)² is taken.

The reference rounds scale and zero point to the nearest code each, where the third step takes the best pair.

Source: Dettmers et al., SpQR (arXiv 2306.03078), section 4; Vahe1994/SpQR quant_groups.py. Steps 1 and 3 are ours.
"""

import numpy as np

from pennyweight.formats.base import Codes, Floats
from pennyweight.formats.integer_grid import range_parts
from pennyweight.formats.search import ordered_sum
from pennyweight.formats.spqr_codes import SPQR_TILE

TOP = 7
"""Of codes of weights, of scales and of zero points: three bits each."""

FLATTEST = 64.0
"""The most that a zero point may be, of the scales too: a step is at least 1/64 of the largest, which float16 tells."""

LEAST_SCALE, LEAST_STEP = np.float32(1e-6), np.float32(1e-7)


def range_to_scale(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """scale = (high − low) / 7, zero = −low / scale; a flat group has its number at code 0."""
    scale = (high - low) / np.float32(TOP)
    # A flat group keeps a scale that float16 can tell from zero; its zero point puts the number on a code.
    scale = np.maximum(scale, np.maximum(np.abs(low) / np.float32(FLATTEST), LEAST_SCALE))
    return scale, (0 - low) / scale


def search_ranges(x: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Scale and zero point, (...), of x (..., n) under cost (..., n); the widest range of equals."""
    low, high = x.min(axis=-1), x.max(axis=-1)
    best = np.full(low.shape, np.inf, np.float32)
    scale, zero = np.ones_like(low), np.zeros_like(low)
    for part in range_parts():
        tried = range_to_scale(low * part, high * part)
        error = group_error(x, cost, *tried)
        better = error < best
        best, scale, zero = (
            np.where(better, new, old) for new, old in zip((error, *tried), (best, scale, zero), strict=True)
        )
    return scale, zero


def second_order(values: Floats) -> tuple[Codes, tuple[Floats, Floats]]:
    """Values (rows, groups) as the nearest 3-bit codes, uint8, and the step and zero point of sixteen rows, float16."""
    tiles = values.reshape(-1, SPQR_TILE, values.shape[1])
    low, high = tiles.min(axis=1), tiles.max(axis=1)
    least = np.maximum(np.maximum(np.abs(low), np.abs(high)) / np.float32(FLATTEST), LEAST_STEP)
    step = np.maximum((high - low) / np.float32(TOP), least).astype(np.float16).astype(np.float32)
    zero = (-low / step).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(tiles / step[:, None] + zero[:, None]), 0, TOP).astype(np.uint8)
    return codes.reshape(values.shape), (step, zero)


def choose_codes(x: Floats, cost: Floats, second: Floats) -> tuple[Codes, Codes]:
    """Codes of scale and zero point, uint8 (rows, groups), of x (rows, groups, n); the lowest of equals.

    Args:
        cost: (rows, groups, n). second: (rows / 16, groups, 4), as `SpQRCodes` has it.
    """
    numbers = np.repeat(second, SPQR_TILE, axis=0)
    best = np.full(x.shape[:2], np.inf, np.float32)
    scale_codes, zero_codes = np.zeros(x.shape[:2], np.uint8), np.zeros(x.shape[:2], np.uint8)
    for a in range(TOP + 1):
        scale = numbers[..., 0] * (np.float32(a) - numbers[..., 1])
        usable = scale > 0
        for b in range(TOP + 1):
            zero = numbers[..., 2] * (np.float32(b) - numbers[..., 3])
            error = group_error(x, cost, np.where(usable, scale, np.float32(1)), zero)
            better = usable & (error < best)
            best = np.where(better, error, best)
            scale_codes[better], zero_codes[better] = a, b
    return scale_codes, zero_codes


def group_error(x: Floats, cost: Floats, scale: Floats, zero: Floats) -> Floats:
    """Σ cost · (x − q)² of each group, in order; scale above 0."""
    scale, zero = scale[..., None], zero[..., None]
    missed = scale * (np.clip(np.rint(x / scale + zero), 0, TOP) - zero) - x
    return ordered_sum(missed * missed * cost)
