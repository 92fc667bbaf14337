"""Super-blocks of 256 weights: how the scales of sub-blocks are themselves rounded, and codes rounded again to fit.

A K format searches a scale (and a minimum) for each sub-block, stores them as small integers times one float16, and
then rounds the weights once more with the scales that a reader will see.

Source: llama.cpp ggml-quants.c (b11549), the common part of `quantize_row_q{2,3,4,5,6}_K_{ref,impl}`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.base import Codes, Floats
from pennyweight.formats.search import nearest_int, ordered_sum

SIZE = 256


def sub_blocks(blocks: Floats, size: int) -> Floats:
    """(..., 256) → (..., 256 / size, size)."""
    return blocks.reshape(*blocks.shape[:-1], SIZE // size, size)


def mean_square(blocks: Floats, factor: int = 1) -> Floats:
    """σ² = factor · Σ x² / 256 of each super-block, (..., 256) → (..., 1), one for all its sub-blocks."""
    return (np.float32(factor) * ordered_sum(blocks * blocks) / np.float32(SIZE))[..., None]


def linear_codes(values: Floats, top: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """Numbers ≥ 0 as code · unit, the largest becoming `top`: float16 unit (...) and codes (..., n), not clamped."""
    largest = np.maximum(values.max(axis=-1), np.float32(0))
    inverse = np.where(largest > 0, np.float32(top) / largest, np.float32(0))
    unit = (largest / np.float32(top)).astype(np.float16)
    return unit, nearest_int(inverse[..., None] * values)


def round_affine(x: Floats, step: Floats, minimum: Floats, codes: Codes, top: int) -> Codes:
    """Codes of x ≈ step · code − minimum with the stored scales; where step is 0 the searched codes stay.

    Args:
        x: float32 (..., groups, n).
        step, minimum: float32 (..., groups), as a reader computes them.
        codes: uint8 (..., groups, n), the search's.
        top: largest code.
    """
    rounded = np.clip(nearest_int((x + minimum[..., None]) / step[..., None]), 0, top)
    return np.where(step[..., None] != 0, rounded.astype(np.uint8), codes)


def round_symmetric(x: Floats, step: Floats, codes: Codes, top: int) -> Codes:
    """Codes of x ≈ step · (code − top) with the stored scales; where step is 0 the searched codes stay."""
    rounded = np.clip(nearest_int(x / step[..., None]), -top, top - 1) + top
    return np.where(step[..., None] != 0, rounded.astype(np.uint8), codes)
