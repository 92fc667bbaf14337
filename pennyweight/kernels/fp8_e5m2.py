"""FP8_E5M2, fast, sixteen weights at once. Layout: `pennyweight.formats.fp8_e5m2`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.fp8_e5m2 import BIAS, FRACTION_BITS, INFINITY
from pennyweight.kernels.compile import kernel
from pennyweight.kernels.simd import LANES, bits_of, from_bits
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes
from pennyweight.kernels.small_float import from_small, in_sixteens, to_small

_NAN = 0x7F


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, columns)."""
    del importance  # the format takes no notice of it
    in_sixteens(_encode, rows, out, rows.size)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, columns) → `out`, float32 (n, columns)."""
    in_sixteens(_decode, data, out, out.size)


@kernel
def _encode(source, data, count):
    for i in range(0, count, LANES):
        at = min(i, count - LANES)
        value = load(source, at)
        sign = bits_of(value) >> 24 & 0x80
        store_bytes(data, at, to_small(value, FRACTION_BITS, BIAS, INFINITY, _NAN) | sign)


@kernel
def _decode(source, target, count):
    for i in range(0, count, LANES):
        at = min(i, count - LANES)
        code = load_bytes(source, at)
        value = from_small(code & 0x7F, FRACTION_BITS, BIAS, INFINITY)
        store(target, at, from_bits(bits_of(value) | (code & 0x80) << 24))
