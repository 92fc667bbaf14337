"""IQ4_NL, fast: sixteen blocks of 32 weights to a tile, one to a lane.

Layout and formula: `pennyweight.formats.iq4_nl`. Source: llama.cpp ggml-quants.c `quantize_iq4_nl`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import iq4_nl
from pennyweight.kernels.codebook import read_codes, search_scale, write_codes
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import load_half, store_half
from pennyweight.kernels.simd import splat
from pennyweight.kernels.simd_memory import load, store
from pennyweight.kernels.tiles import TILE_32, load_importance_32, load_tile_32, repeated, weigh, weigh_plain

_BYTES = iq4_nl.LAYOUT.itemsize
_D, _CODES = offsets(iq4_nl.LAYOUT, "d", "qs")
_ZERO, _TO_VARIANCE = np.float32(0), np.float32(2 / 32)


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, row_bytes)."""
    _encode(rows, importance if importance is None else repeated(importance), out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, row_bytes) → `out`, float32 (n, columns)."""
    _decode(data, out)


@kernel
def _encode(rows, importance, out):
    source, data = rows.reshape(-1), out.reshape(-1)
    x, w, scales = np.empty(TILE_32, np.float32), np.empty(TILE_32, np.float32), np.empty(16, np.float32)
    for first in range(0, source.size // 32, 16):
        count = load_tile_32(source, first, x)
        if importance is None:
            weigh_plain(x, w, 32)
        else:
            load_importance_32(importance, first, rows.shape[1], w)
            weigh(x, w, 32, _variance(x))
        store(scales, 0, search_scale(x, w))
        for block in range(count):
            _write(source, 32 * (first + block), scales[block], data, _BYTES * (first + block))


@lane_function
def _variance(x):
    """σ² = 2 · Σ x² / 32 of each lane."""
    total = splat(_ZERO)
    for i in range(32):
        value = load(x, 16 * i)
        total = total + value * value
    return total * _TO_VARIANCE


@lane_function
def _write(source, start, scale, data, at):
    """One block; the codes are those of the float32 scale, not of the float16 that is stored."""
    store_half(data, at + _D, half_bits(scale))
    write_codes(source, start, scale, data, at + _CODES)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    for block in range(target.size // 32):
        at = _BYTES * block
        read_codes(source, at + _CODES, load_half(source, at + _D), target, 32 * block)
