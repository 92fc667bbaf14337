"""Planes of bits: several small codes side by side in each byte, the one packing that all of ggml's formats share.

`8 / bits` planes of n codes become n bytes; plane p sits at bit p · bits, so with 4 bits byte j holds code j below and
code j + n above, with 2 bits codes j, j + n, j + 2n and j + 3n, with 1 bit eight of them:

    byte[j] = Σ_p  codes[p, j] << (p · bits)

Source: llama.cpp ggml-quants.c, the packing loops of every `quantize_row_*`.
"""

import numpy as np

from pennyweight.formats.base import Codes


def pack_planes(codes: Codes, bits: int) -> Codes:
    """Codes below 2^bits, uint8 (..., 8 / bits, n) → bytes, uint8 (..., n)."""
    return np.bitwise_or.reduce(codes << _shifts(bits), axis=-2)


def unpack_planes(packed: Codes, bits: int) -> Codes:
    """Bytes, uint8 (..., n) → codes, uint8 (..., 8 / bits, n)."""
    return packed[..., None, :] >> _shifts(bits) & np.uint8((1 << bits) - 1)


def _shifts(bits: int) -> Codes:
    return np.arange(0, 8, bits, dtype=np.uint8)[:, None]
