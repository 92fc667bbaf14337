"""float16 inside Numba kernels, one number at a time: the bits of a float32 rounded to half, and back.

In integer arithmetic, because not every x86-64 has the conversion instruction and Numba's runtime not every fallback.
Rounds half to even, as NumPy's `astype(np.float16)` and ggml do; every NaN becomes 0x7E00 with its sign.

Source: llama.cpp ggml-impl.h `ggml_compute_fp32_to_fp16`, `ggml_compute_fp16_to_fp32`.
"""

import numpy as np

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.simd import bits_of, from_bits

_HALF = np.float32(0.5)
_STEP = np.float32(2.0**-24)  # the distance of two subnormal halves


@lane_function
def half_bits(value):
    """float32 → the uint16 pattern of the nearest half, as int64."""
    bits = np.int64(bits_of(value))
    sign, size = bits >> 16 & 0x8000, bits & 0x7FFFFFFF
    if size > 0x7F800000:
        return sign | 0x7E00
    if size >= 0x47800000:  # 2^16 and more, infinity included
        return sign | 0x7C00
    if size < 0x38800000:  # below 2^-14, where halves are multiples of 2^-24, as the floats just above 0.5 are of 2^-24
        return sign | np.int64(bits_of(from_bits(np.uint32(size)) + _HALF)) - 0x3F000000
    return sign | (size + 0x0FFF + (size >> 13 & 1) - 0x38000000) >> 13


@lane_function
def half_value(bits):
    """The uint16 pattern of a half → float32."""
    sign, size = np.int64(bits & 0x8000) << 16, np.int64(bits & 0x7FFF)
    if size >= 0x7C00:
        return from_bits(np.uint32(sign | 0x7F800000 | (size & 0x3FF) << 13))
    if size < 0x0400:
        magnitude = np.float32(size) * _STEP
        return -magnitude if sign else magnitude
    return from_bits(np.uint32(sign | (size << 13) + 0x38000000))
