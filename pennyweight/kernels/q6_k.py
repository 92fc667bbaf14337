"""Q6_K, fast: a super-block of 256 weights is one tile, its sixteen sub-blocks the lanes.

Layout and formula: `pennyweight.formats.q6_k`. Source: llama.cpp ggml-quants.c `quantize_row_q6_K_{ref,impl}`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q6_k
from pennyweight.formats.search import TOO_SMALL
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits, half_value
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import clamped, load_half, nearest_int, store_half
from pennyweight.kernels.search_qx import codes_for_step, codes_found, extreme_of, search_qx
from pennyweight.kernels.simd import splat, to_floats
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes, transpose
from pennyweight.kernels.tiles import weigh_plain

_TOP = 32
_BYTES = q6_k.LAYOUT.itemsize
_LOW, _HIGH, _SCALES, _D = offsets(q6_k.LAYOUT, "ql", "qh", "scales", "d")


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, row_bytes)."""
    _encode(rows, importance, out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, row_bytes) → `out`, float32 (n, columns)."""
    _decode(data, out)


@kernel
def _encode(rows, importance, out):
    source, data = rows.reshape(-1), out.reshape(-1)
    x, w, wx = np.empty(256, np.float32), np.empty(256, np.float32), np.empty(256, np.float32)
    scales, inverses, codes = np.empty(16, np.float32), np.empty(16, np.float32), np.empty(256, np.uint8)
    for block in range(source.size // 256):
        start, at = 256 * block, _BYTES * block
        transpose(source, start, 16, x, 0)
        if importance is None:
            weigh_plain(x, w, 16)
        else:
            transpose(importance, start % rows.shape[1], 16, w, 0)
        scale, inverse = search_qx(x, w, wx, 16, _TOP)
        store(scales, 0, scale)
        store(inverses, 0, inverse)
        _write(source, start, scales, inverses, codes, data[at : at + _BYTES])


@lane_function
def _write(source, start, scales, inverses, codes, data):
    """One block into the bytes `data`, from the scales of its sub-blocks."""
    extreme = extreme_of(scales)
    if abs(extreme) < TOO_SMALL:
        data[:] = 0
        return
    factor = np.float32(-128) / extreme
    half = half_bits(np.float32(1) / factor)
    store_half(data, _D, half)
    scale_codes = clamped(nearest_int(load(scales, 0) * factor), -128, 127)
    store_bytes(data, _SCALES, scale_codes)
    store(scales, 0, to_floats(scale_codes) * half_value(half))
    for sub in range(16):
        weights = load(source, start + 16 * sub)
        if scales[sub] == 0:
            store_bytes(codes, 16 * sub, codes_found(weights, inverses[sub], _TOP))
        else:
            store_bytes(codes, 16 * sub, codes_for_step(weights, scales[sub], _TOP))
    _pack(codes, data)


@lane_function
def _pack(codes, data):
    """Sixteen columns at a time: four low bits of two codes to a byte, two high bits of four."""
    for half in range(2):
        for column in (0, 16):
            place = 128 * half + column
            a, b = load_bytes(codes, place), load_bytes(codes, place + 32)
            c, d = load_bytes(codes, place + 64), load_bytes(codes, place + 96)
            low = _LOW + 64 * half + column
            store_bytes(data, low, a & 15 | (c & 15) << 4)
            store_bytes(data, low + 32, b & 15 | (d & 15) << 4)
            high = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6
            store_bytes(data, _HIGH + 32 * half + column, high)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    steps = np.empty(16, np.float32)
    for block in range(target.size // 256):
        at = _BYTES * block
        store(steps, 0, splat(load_half(source, at + _D)) * to_floats(_signed(load_bytes(source, at + _SCALES))))
        for half in range(2):
            for column in range(2):
                low = at + _LOW + 64 * half + 16 * column
                a, b = load_bytes(source, low), load_bytes(source, low + 32)
                high = load_bytes(source, at + _HIGH + 32 * half + 16 * column)
                place, sub = 256 * block + 128 * half + 16 * column, 8 * half + column
                _weights(target, place, a & 15 | (high & 3) << 4, steps[sub])
                _weights(target, place + 32, b & 15 | (high >> 2 & 3) << 4, steps[sub + 2])
                _weights(target, place + 64, a >> 4 | (high >> 4 & 3) << 4, steps[sub + 4])
                _weights(target, place + 96, b >> 4 | (high >> 6) << 4, steps[sub + 6])


@lane_function
def _weights(target, place, code, step):
    store(target, place, to_floats(code - _TOP) * step)


@lane_function
def _signed(byte):
    """0..255 → −128..127."""
    return (byte ^ 128) - 128
