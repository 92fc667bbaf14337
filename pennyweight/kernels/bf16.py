"""BF16, fast: the upper half of a float32, rounded to nearest and ties to even, sixteen weights at once.

Layout: `pennyweight.formats.bf16`. Source: llama.cpp ggml-impl.h `ggml_compute_fp32_to_bf16`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.simd import LANES, bits_of, from_bits, select
from pennyweight.kernels.simd_memory import load, load_words, store, store_words
from pennyweight.kernels.small_float import in_sixteens


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
        store_words(data, 2 * at, _upper_half(load(source, at)))


@kernel
def _decode(source, target, count):
    for i in range(0, count, LANES):
        at = min(i, count - LANES)
        store(target, at, from_bits(load_words(source, 2 * at) << 16))


@lane_function
def _upper_half(value):
    """Floats → Ints 0..65535. NaN keeps its upper bits and becomes quiet: rounding could carry it into infinity."""
    bits = bits_of(value)
    upper = bits >> 16
    rounded = (bits + 0x7FFF + (upper & 1)) >> 16
    return select((bits & 0x7FFFFFFF) > 0x7F800000, upper | 64, rounded)
