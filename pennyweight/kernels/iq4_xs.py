"""IQ4_XS, fast: two super-blocks of 256 weights to a tile, their sixteen sub-blocks of 32 the lanes.

Layout and formula: `pennyweight.formats.iq4_xs`. Source: llama.cpp ggml-quants.c `quantize_iq4_xs`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import iq4_xs
from pennyweight.kernels.codebook import read_codes, search_scale, write_codes
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import clamped, load_half, nearest_int, store_half
from pennyweight.kernels.search_qx import extreme_of
from pennyweight.kernels.simd import lane, splat
from pennyweight.kernels.simd_memory import load, store
from pennyweight.kernels.tiles import (
    TILE_32,
    load_importance_32,
    load_tile_32,
    repeated,
    sums_of_squares,
    weigh,
    weigh_plain,
)

_BYTES = iq4_xs.LAYOUT.itemsize
_D, _HIGH, _LOW, _CODES = offsets(iq4_xs.LAYOUT, "d", "scales_h", "scales_l", "qs")
_SCALE_TOP = iq4_xs.SCALE_TOP
_ZERO, _ONE = np.float32(0), np.float32(1)
_TO_VARIANCE = np.float32(2 / 256)


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
    squares = sums_of_squares(source, 256) if importance is not None else scales
    for first in range(0, source.size // 32, 16):
        count = load_tile_32(source, first, x)
        if importance is None:
            weigh_plain(x, w, 32)
        else:
            load_importance_32(importance, first, rows.shape[1], w)
            for sub in range(count):
                scales[sub] = squares[(first + sub) // 8] * _TO_VARIANCE
            weigh(x, w, 32, load(scales, 0))
        store(scales, 0, search_scale(x, w))
        for sub in range(0, count, 8):
            _write(source, 32 * (first + sub), scales[sub : sub + 8], data, (first + sub) // 8 * _BYTES)


@lane_function
def _write(source, start, scales, data, at):
    """One super-block from the eight scales of its sub-blocks; codes follow the float32 d, not the float16 stored."""
    d = -extreme_of(scales) / np.float32(_SCALE_TOP)
    inverse = _ONE / d if d != _ZERO else _ZERO
    store_half(data, at + _D, half_bits(d))
    high = 0
    for sub in range(8):
        scale = lane(clamped(nearest_int(splat(inverse * scales[sub])), -_SCALE_TOP, _SCALE_TOP - 1), 0)
        write_codes(source, start + 32 * sub, d * np.float32(scale), data, at + _CODES + 16 * sub)
        code = np.int64(scale) + _SCALE_TOP
        high |= code >> 4 << 2 * sub
        place = at + _LOW + sub // 2
        data[place] = code & 15 if sub % 2 == 0 else data[place] | (code & 15) << 4
    data[at + _HIGH] = high & 255
    data[at + _HIGH + 1] = high >> 8


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    for block in range(target.size // 256):
        at = _BYTES * block
        d = load_half(source, at + _D)
        high = np.int64(source[at + _HIGH]) | np.int64(source[at + _HIGH + 1]) << 8
        for sub in range(8):
            low = np.int64(source[at + _LOW + sub // 2]) >> 4 * (sub % 2)
            step = d * np.float32((low & 15 | (high >> 2 * sub & 3) << 4) - _SCALE_TOP)
            read_codes(source, at + _CODES + 16 * sub, step, target, 256 * block + 32 * sub)
