"""What the 8-bit floats share: one rounding and one reading for any split of the seven bits below the sign.

A code c of m fraction bits, exponent field e = c >> m and bias b:

    value = 2^(max(e, 1) - b - m) * ((c & (2^m - 1)) + (2^m if e > 0 else 0))

Counting codes upward counts magnitudes upward, so a rounding that carries out of the fraction lands on the next
exponent by itself, and subnormals are the codes below 2^m.

Source: OCP 8-bit Floating Point Specification (OFP8) 1.0, sections 5.1 and 5.2.
"""

import numpy as np

from pennyweight.formats.base import Codes, Floats

SIGN = 0x80


def round_codes(values: Floats, fraction_bits: int, bias: int, largest: int) -> Codes:
    """Float32 → codes: to nearest, ties to even; what rounds past the code `largest` becomes it; NaN becomes 0x7F.

    Both keep the sign.
    """
    # Infinity has no exponent to take apart; 2^17 is past every 8-bit float.
    magnitude = np.minimum(np.abs(values), np.float32(2**17))
    # frexp gives zero the exponent 0, where ours is the least.
    exponent = np.where(magnitude > 0, np.maximum(np.frexp(magnitude)[1] - 1, 1 - bias), 1 - bias)
    # Multiplying by a power of two is exact, so this rounds once.
    steps = np.rint(np.ldexp(magnitude, fraction_bits - exponent))
    codes = steps + np.ldexp(np.float32(exponent + bias - 1), fraction_bits)
    codes = np.where(np.isnan(values), 0x7F, np.minimum(codes, largest)).astype(np.uint8)
    return codes | np.where(np.signbit(values), SIGN, 0).astype(np.uint8)


def read_codes(codes: Codes, fraction_bits: int, bias: int) -> Floats:
    """Codes → float32, exact; every code is read as a number, infinities and NaN are the format's to know."""
    field = (codes & 0x7F).astype(np.int32) >> fraction_bits
    fraction = (codes & ((1 << fraction_bits) - 1)) + np.where(field > 0, 1 << fraction_bits, 0)
    magnitude = np.ldexp(fraction.astype(np.float32), np.maximum(field, 1) - bias - fraction_bits)
    return np.where(codes & SIGN, -magnitude, magnitude)
