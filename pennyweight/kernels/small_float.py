"""Floats of fewer bits, sixteen at once: what F16, FP8_E4M3 and FP8_E5M2 share, in integer arithmetic.

In integers, because not every processor has the conversions and Numba's runtime not every fallback. A small float is
described by its fraction bits m and its exponent's bias b: moving the exponent's bias from 127 to b and rounding away
23 − m bits of fraction is one addition and one shift. Subnormals are rounded by a float addition, to a number whose
last place is their step.

Source: llama.cpp ggml-impl.h `ggml_compute_fp32_to_fp16`; OCP 8-bit Floating Point Specification 1.0, section 5.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.simd import LANES, bits_of, from_bits, magnitude, select, splat

_INFINITY = 0x7F800000


@lane_function
def to_small(value, fraction_bits, bias, largest, nan):
    """Floats → Ints without the sign: the nearest code, ties to even; `largest` where it would be above, or `nan`."""
    size = bits_of(value) & 0x7FFFFFFF
    shift = 23 - fraction_bits
    # A carry out of the fraction lands in the exponent, where it belongs.
    code = (size - ((127 - bias) << 23) + ((1 << (shift - 1)) - 1) + (size >> shift & 1)) >> shift
    code = select(code > largest, splat(largest), code)
    anchor = (24 + 127 - bias - fraction_bits) << 23  # its last place is worth one step of the subnormals
    subnormal = bits_of(magnitude(value) + from_bits(np.uint32(anchor))) - anchor
    code = select(size < (128 - bias) << 23, subnormal, code)
    return select(size > _INFINITY, splat(nan), code)


@lane_function
def from_small(code, fraction_bits, bias, first_special):
    """Ints without the sign → Floats, exactly; from `first_special` on, infinity and NaN, the fraction kept."""
    shift = 23 - fraction_bits
    normal = (code << shift) + ((127 - bias) << 23)
    special = (code & ((1 << fraction_bits) - 1)) << shift | _INFINITY
    anchor = (24 + 127 - bias - fraction_bits) << 23
    subnormal = bits_of(from_bits(code + anchor) - from_bits(np.uint32(anchor)))
    bits = select(code < first_special, normal, special)
    return from_bits(select(code < 1 << fraction_bits, subnormal, bits))


def in_sixteens(kernel: Callable[..., None], source: NDArray, target: NDArray, count: int) -> None:
    """Call kernel(source, target, count), both flat, on at least sixteen numbers; fewer are filled up with zeros.

    (Kernels do a last, incomplete sixteen by going back and doing some numbers twice.)
    """
    if count >= LANES or count == 0:
        kernel(source.reshape(-1), target.reshape(-1), count)
        return
    more = np.zeros(LANES * source.size // count, source.dtype)
    more[: source.size] = source.reshape(-1)
    more.flags.writeable = False  # the type that the kernel is compiled for
    wide = np.empty(LANES * target.size // count, target.dtype)
    kernel(more, wide, LANES)
    target.reshape(-1)[:] = wide[: target.size]
