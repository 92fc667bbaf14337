"""F16, fast, sixteen weights at once. Layout: `pennyweight.formats.f16`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.kernels.compile import kernel
from pennyweight.kernels.simd import LANES, bits_of, from_bits
from pennyweight.kernels.simd_memory import load, load_words, store, store_words
from pennyweight.kernels.small_float import from_small, in_sixteens, to_small

_FRACTION_BITS, _BIAS, _INFINITY, _NAN = 10, 15, 0x7C00, 0x7E00


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, 2 · columns)."""
    del importance  # the format takes no notice of it
    in_sixteens(_encode, rows, out, rows.size)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, 2 · columns) → `out`, float32 (n, columns)."""
    in_sixteens(_decode, data, out, out.size)


@kernel
def _encode(source, data, count):
    for i in range(0, count, LANES):
        at = min(i, count - LANES)
        value = load(source, at)
        sign = bits_of(value) >> 16 & 0x8000
        store_words(data, 2 * at, to_small(value, _FRACTION_BITS, _BIAS, _INFINITY, _NAN) | sign)


@kernel
def _decode(source, target, count):
    for i in range(0, count, LANES):
        at = min(i, count - LANES)
        half = load_words(source, 2 * at)
        value = from_small(half & 0x7FFF, _FRACTION_BITS, _BIAS, _INFINITY)
        store(target, at, from_bits(bits_of(value) | (half & 0x8000) << 16))
