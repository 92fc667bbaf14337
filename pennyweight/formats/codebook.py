"""What IQ4_NL and IQ4_XS share: codes are places in a table of sixteen unevenly spaced values, denser near zero.

    w[i] = scale * VALUES[q[i]]      q in 0..15

Source: llama.cpp ggml-common.h `kvalues_iq4nl`, ggml-quants.c (b11549) `best_index_int8`, `quantize_row_iq4_nl_impl`.
"""

from collections.abc import Callable

import numpy as np

from pennyweight.formats.base import Blocks, CodeGrid, Codes, Floats, Steps
from pennyweight.formats.search import (
    TOO_SMALL,
    importance_weights,
    largest_magnitude,
    ordered_sum,
)

VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)

TRIES = 7


def grid(
    group_size: int,
    read_codes: Callable[[Blocks], Codes],
    write_codes: Callable[[Blocks, Codes], None],
    read_steps: Callable[[Blocks], Steps],
) -> CodeGrid:
    """The grid of a format whose codes are places in `VALUES`."""
    return CodeGrid(
        top=len(VALUES) - 1,
        group_size=group_size,
        read_codes=read_codes,
        write_codes=write_codes,
        read_steps=read_steps,
        values=VALUES,
    )


def nearest_code(value: Floats) -> Codes:
    """Place of the nearest of `VALUES`, uint8; the upper of two at equal distance, and 15 for NaN."""
    upper = np.searchsorted(VALUES, value, side="right").clip(1, len(VALUES) - 1)
    nearer_below = value - VALUES[upper - 1] < VALUES[upper] - value
    return (upper - nearer_below).astype(np.uint8)


def search_scale(x: Floats, importance: Floats | None, sum_squares: Floats, block_size: int) -> Floats:
    """The scale of each group of 32: least squares over the codes of sixteen tried scales, the best of them.

    Args:
        x: float32 (..., 32).
        importance: float32, broadcasts to x, or None: then errors weigh x².
        sum_squares: float32, Σ x² of the whole block each group is in; broadcasts to x without its last axis.
        block_size: weights in that block.

    Returns:
        float32 (...); 0 for a group below `TOO_SMALL`.
    """
    sigma_square = sum_squares * (np.float32(2) / np.float32(block_size))
    weights = x * x if importance is None else importance_weights(x, importance, sigma_square)
    largest = largest_magnitude(x)
    first = np.float32(1) / (-largest / VALUES[0])
    scale, best = np.zeros_like(largest), np.zeros_like(largest)
    for tried in (None, *range(-TRIES, TRIES + 1)):
        inverse = first if tried is None else (tried + VALUES[0]) / largest
        value = VALUES[nearest_code(inverse[..., None] * x)]
        sum_qx, sum_q2 = ordered_sum(weights * value * x), ordered_sum(weights * value * value)
        better = sum_q2 > 0
        if tried is not None:
            better &= sum_qx * sum_qx > best * sum_q2
        fitted = np.where(sum_q2 > 0, sum_qx / sum_q2, np.float32(0))
        scale, best = np.where(better, fitted, scale), np.where(better, fitted * sum_qx, best)
    return np.where(np.abs(largest) < TOO_SMALL, np.float32(0), scale)
