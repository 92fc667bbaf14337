"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: blocks of 32 with one float16 scale (and one minimum), codes of 4 or 5 bits.

Without importance the scale is read off the extremes; with it, it is searched as in the K formats.

Source: llama.cpp ggml-quants.c (b11549), `quantize_row_q{4,5}_{0,1}_{ref,impl}`.
"""

import numpy as np

from pennyweight.formats.base import Codes, Floats
from pennyweight.formats.planes import pack_planes, unpack_planes
from pennyweight.formats.search import (
    extremes,
    importance_weights,
    largest_magnitude,
    make_qkx,
    make_qx,
    ordered_sum,
    weighted_search,
)


def truncate_byte(value: Floats) -> Codes:
    """C's cast of a float to a byte, as x86-64 does it: toward zero, low byte; 0 for what an int32 cannot hold."""
    fits = np.abs(value) < np.float32(2**31)
    return np.where(fits, value, np.float32(0)).astype(np.int32).astype(np.uint8)


def encode_symmetric(weights: Floats, importance: Floats | None, top: int) -> tuple[Floats, Codes]:
    """x ≈ d · (code − top), float32 (rows, blocks, 32) → d (rows, blocks) and codes (rows, blocks, 32)."""
    if importance is not None:
        return make_qx(weights, importance_weights(weights, importance, _row_mean_square(weights)), top)
    d = largest_magnitude(weights) / np.float32(-top)
    codes = truncate_byte(weights * reciprocal(d)[..., None] + np.float32(top + 0.5))
    return d, _at_most(codes, 2 * top - 1)


def encode_affine(weights: Floats, importance: Floats | None, top: int) -> tuple[Floats, Floats, Codes]:
    """x ≈ d · code + m, float32 (rows, blocks, 32) → d, m (rows, blocks) and codes (rows, blocks, 32)."""
    if importance is not None:
        w = importance_weights(weights, importance, _row_mean_square(weights))
        d, minimum, codes = make_qkx(weights, w, weighted_search(top))
        return d, -minimum, codes
    low, high = extremes(weights)
    d = (high - low) / np.float32(top)
    codes = truncate_byte((weights - low[..., None]) * reciprocal(d)[..., None] + np.float32(0.5))
    return d, low, _at_most(codes, top)


def pack_nibbles(codes: Codes) -> Codes:
    """Low four bits of codes (..., 32) → bytes (..., 16): code j below, code j + 16 above."""
    return pack_planes((codes & 15).reshape(*codes.shape[:-1], 2, 16), 4)


def unpack_nibbles(packed: Codes) -> Codes:
    """Bytes (..., 16) → codes (..., 32)."""
    return unpack_planes(packed, 4).reshape(*packed.shape[:-1], 32)


def pack_fifth_bits(codes: Codes) -> Codes:
    """Fifth bits of codes (..., 32) → bytes (..., 4): bit j % 8 of byte j // 8."""
    return np.packbits(codes >> 4, axis=-1, bitorder="little")


def unpack_fifth_bits(packed: Codes) -> Codes:
    """Bytes (..., 4) → 0 or 16, (..., 32)."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << 4


def reciprocal(d: Floats) -> Floats:
    """1 / d of the unrounded float32 scale; 0 where d is 0."""
    return np.where(d != 0, np.float32(1) / d, np.float32(0))


def _at_most(codes: Codes, top: int) -> Codes:
    """min(codes, top), where codes are C's int8: one above 127 is negative and stays."""
    return np.minimum(codes.astype(np.int8), top).astype(np.uint8)


def _row_mean_square(weights: Floats) -> Floats:
    """Σ x² / columns of each whole row, (rows, blocks, 32) → (rows, 1)."""
    rows = weights.reshape(len(weights), -1)
    return (ordered_sum(rows * rows) / np.float32(rows.shape[-1]))[..., None]
