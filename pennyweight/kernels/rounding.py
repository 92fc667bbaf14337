"""Small steps of every kernel: rounding to whole numbers as ggml does it, and the small fields of a block.

Fields are a float16 and the 32 fifth bits of a block of 32 codes; data are uint8, places in bytes.

Source: llama.cpp ggml-quants.c `nearest_int`.
"""

import numpy as np

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.half import half_value
from pennyweight.kernels.simd import bits_of, from_bits, mask_bits, mask_of, select, splat

_MAGIC = np.float32(1.5 * 2**23)


@lane_function
def clamped(value, low, high):
    """`value` (Floats or Ints) between two scalars; NaN stays NaN."""
    value = select(value < low, splat(low), value)
    return select(value > high, splat(high), value)


@lane_function
def rounded(value):
    """Floats → the nearest whole Floats, ties to even, where |value| < 2**22: adding 1.5 · 2**23 leaves no fraction."""
    return (value + _MAGIC) - _MAGIC


@lane_function
def nearest_int(value):
    """Floats → Ints: `rounded` for every value, as ggml does it: its answer to ±infinity is −2**22, to NaN 0."""
    return (bits_of(value + _MAGIC) & 0x7FFFFF) - 0x400000


@lane_function
def nearest(value):
    """`nearest_int` as whole Floats."""
    # The same bits of the mantissa, put under the exponent of 2**23, are a float again.
    return from_bits(bits_of(value + _MAGIC) & 0x7FFFFF | 0x4B000000) - _MAGIC


@lane_function
def load_half(data, at):
    """The float16 in bytes `at`, `at` + 1 of uint8 `data` → float32."""
    return half_value(np.int64(data[at]) | np.int64(data[at + 1]) << 8)


@lane_function
def store_half(data, at, half):
    """float16 bits (int64) → bytes `at`, `at` + 1 of uint8 `data`."""
    data[at] = half & 255
    data[at + 1] = half >> 8


@lane_function
def load_fifth_bits(data, at):
    """The 32 bits in bytes `at` on of uint8 `data` → Ints 0 or 16 for the first sixteen, Ints for the others."""
    low, high = np.int64(data[at]) | np.int64(data[at + 1]) << 8, np.int64(data[at + 2]) | np.int64(data[at + 3]) << 8
    return select(mask_of(low), splat(16), splat(0)), select(mask_of(high), splat(16), splat(0))


@lane_function
def store_fifth_bits(data, at, low, high):
    """Bit 4 of two times sixteen codes (Ints 0..31) → 32 bits in bytes `at` on of uint8 `data`."""
    bits = mask_bits(low > 15) | mask_bits(high > 15) << 16
    for i in range(4):
        data[at + i] = bits >> 8 * i & 255
