"""Q4_0, fast. Layout and formula: `pennyweight.formats.q4_0`; the search is in `pennyweight.kernels.symmetric`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q4_0
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import load_half, store_half
from pennyweight.kernels.simd import to_floats
from pennyweight.kernels.simd_memory import load_bytes, store, store_bytes
from pennyweight.kernels.symmetric import fit_plain, fit_weighted, weighting_of
from pennyweight.kernels.tiles import TILE_32, repeated

_TOP = q4_0.TOP
_BYTES = q4_0.LAYOUT.itemsize
_D, _CODES = offsets(q4_0.LAYOUT, "d", "qs")


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, row_bytes)."""
    if importance is None:
        _encode_plain(rows, out)
    else:
        _encode_weighted(rows, repeated(importance), out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, row_bytes) → `out`, float32 (n, columns)."""
    _decode(data, out)


@kernel
def _encode_plain(rows, out):
    source, data = rows.reshape(-1), out.reshape(-1)
    d, codes = np.empty(16, np.float32), np.empty(TILE_32, np.uint8)
    for first in range(0, source.size // 32, 16):
        count = fit_plain(source, first, _TOP, d, codes)
        _write(d, codes, count, data, _BYTES * first)


@kernel
def _encode_weighted(rows, importance, out):
    source, data = rows.reshape(-1), out.reshape(-1)
    d, codes = np.empty(16, np.float32), np.empty(TILE_32, np.uint8)
    weighting = weighting_of(source, importance, rows.shape[1])
    for first in range(0, source.size // 32, 16):
        count = fit_weighted(source, first, _TOP, weighting, d, codes)
        _write(d, codes, count, data, _BYTES * first)


@lane_function
def _write(d, codes, count, data, at):
    """`count` blocks, end to end."""
    for block in range(count):
        store_half(data, at + _D, half_bits(d[block]))
        low, high = load_bytes(codes, 32 * block), load_bytes(codes, 32 * block + 16)
        store_bytes(data, at + _CODES, low | high << 4)
        at += _BYTES


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    for block in range(target.size // 32):
        at = _BYTES * block
        d, codes = load_half(source, at + _D), load_bytes(source, at + _CODES)
        store(target, 32 * block, to_floats((codes & 15) - _TOP) * d)
        store(target, 32 * block + 16, to_floats((codes >> 4) - _TOP) * d)
