"""Q8_0, fast: sixteen blocks of 32 weights to a tile, one to a lane.

Layout and formula: `pennyweight.formats.q8_0`. Source: llama.cpp ggml-quants.c `quantize_row_q8_0_ref`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q8_0
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import load_half, store_half
from pennyweight.kernels.search_qx import largest
from pennyweight.kernels.simd import LANES, magnitude, select, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes
from pennyweight.kernels.tiles import TILE_32, load_tile_32

_BYTES = q8_0.LAYOUT.itemsize
_D, _CODES = offsets(q8_0.LAYOUT, "d", "qs")
_ZERO, _ONE, _TOP = np.float32(0), np.float32(1), np.float32(127)
_HALF, _MINUS_HALF = np.float32(0.5), np.float32(-0.5)
_BEYOND = np.float32(1024)


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, row_bytes)."""
    del importance  # the format takes no notice of it
    _encode(rows, out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, row_bytes) → `out`, float32 (n, columns)."""
    _decode(data, out)


@kernel
def _encode(rows, out):
    source, data = rows.reshape(-1), out.reshape(-1)
    x, d = np.empty(TILE_32, np.float32), np.empty(16, np.float32)
    for first in range(0, source.size // 32, 16):
        count = load_tile_32(source, first, x)
        store(d, 0, magnitude(largest(x, 0, 32)) / _TOP)
        for block in range(count):
            inverse = _ONE / d[block] if d[block] != _ZERO else _ZERO
            at = _BYTES * (first + block)
            store_half(data, at + _D, half_bits(d[block]))
            for half in (0, LANES):
                weights = load(source, 32 * (first + block) + half)
                store_bytes(data, at + _CODES + half, _half_away(weights * inverse))


@lane_function
def _half_away(value):
    """Floats → Ints as C's `roundf`; 0 for the infinities and NaN of a subnormal d, as C's cast to a byte leaves."""
    value = select(magnitude(value) < _BEYOND, value, splat(_ZERO))
    whole = truncated(value)
    rest = value - to_floats(whole)
    up = select(rest < _HALF, splat(0), splat(1))
    return whole + up - select(rest > _MINUS_HALF, splat(0), splat(1))


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    for block in range(target.size // 32):
        at = _BYTES * block
        d = load_half(source, at + _D)
        for half in (0, LANES):
            code = (load_bytes(source, at + _CODES + half) ^ 128) - 128
            store(target, 32 * block + half, to_floats(code) * d)
