"""Dense bits: codes of 2 to 8 bits one behind the other in 32-bit words, lowest bits first, across word borders.

Code i of a row occupies bits i · b to i · b + b − 1 of the row's bit stream; bit k of the stream is bit k mod 32 of
word k div 32. Every 32 codes fill b words exactly, and for b = 2, 4, 8 no code crosses a border.

Source: GPTQModel `nn_modules/qlinear/__init__.py` pack; compressed-tensors `compressors/quantized_compressors/
pack_quantized.py` `pack_to_int32` (dense since 0.17).
"""

from math import gcd

import numpy as np

from pennyweight.formats.base import Codes

WORD_BITS = 32


def words_of(count: int, bits: int) -> int:
    """How many words `count` codes take."""
    return -(-count * bits // WORD_BITS)


def pack_bits(codes: Codes, bits: int) -> Codes:
    """Codes below 2^bits, uint8 (rows, n) → words, uint32 (rows, ceil(n · bits / 32)); bits left over are zero."""
    rows, count = codes.shape
    per_period, period_words = _period(bits)
    periods = -(-count // per_period)
    padded = np.zeros((rows, periods * per_period), np.uint8)
    padded[:, :count] = codes
    grouped = padded.reshape(rows, periods, per_period)
    words = np.zeros((rows, periods, period_words), np.uint32)
    for i in range(per_period):
        word, offset = divmod(i * bits, WORD_BITS)
        code = grouped[:, :, i].astype(np.uint32)
        words[:, :, word] |= code << np.uint32(offset)
        if offset + bits > WORD_BITS:
            words[:, :, word + 1] |= code >> np.uint32(WORD_BITS - offset)
    return np.ascontiguousarray(words.reshape(rows, -1)[:, : words_of(count, bits)])


def unpack_bits(words: Codes, bits: int, count: int) -> Codes:
    """Words, uint32 (rows, ceil(count · bits / 32)) → codes, uint8 (rows, count)."""
    rows = words.shape[0]
    per_period, period_words = _period(bits)
    periods = -(-count // per_period)
    padded = np.zeros((rows, periods * period_words), np.uint32)
    padded[:, : words.shape[1]] = words
    grouped = padded.reshape(rows, periods, period_words)
    codes = np.empty((rows, periods, per_period), np.uint8)
    mask = np.uint32((1 << bits) - 1)
    for i in range(per_period):
        word, offset = divmod(i * bits, WORD_BITS)
        code = grouped[:, :, word] >> np.uint32(offset)
        if offset + bits > WORD_BITS:
            code |= grouped[:, :, word + 1] << np.uint32(WORD_BITS - offset)
        codes[:, :, i] = code & mask
    return codes.reshape(rows, -1)[:, :count]


def _period(bits: int) -> tuple[int, int]:
    """(codes, words) after which the pattern of borders repeats."""
    common = gcd(bits, WORD_BITS)
    return WORD_BITS // common, bits // common
