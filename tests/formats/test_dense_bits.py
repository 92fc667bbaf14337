"""Dense bits against the definition, bit by bit in Python's whole numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.formats.dense_bits import pack_bits, unpack_bits, words_of


def by_definition(row: list[int], bits: int) -> list[int]:
    """The row's bit stream as one whole number, cut into words."""
    stream = sum(code << (i * bits) for i, code in enumerate(row))
    return [stream >> (32 * word) & 0xFFFFFFFF for word in range(words_of(len(row), bits))]


@given(st.integers(2, 8), st.integers(1, 70), st.integers(0, 2**32))
def test_words_are_the_bit_stream_cut_by_32(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, count)).astype(np.uint8)
    words = pack_bits(codes, bits)
    assert words.tolist() == [by_definition(row, bits) for row in codes.tolist()]
    np.testing.assert_array_equal(unpack_bits(words, bits, count), codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_that_divide_a_word_never_cross_one(bits: int) -> None:
    codes = np.arange(32, dtype=np.uint8)[None] & ((1 << bits) - 1)
    words = pack_bits(codes, bits).view(np.uint8)
    assert words[0, 0] == sum(int(codes[0, i]) << (i * bits) for i in range(8 // bits))
