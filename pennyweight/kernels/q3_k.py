"""Q3_K, fast: a super-block of 256 weights is one tile, its sixteen sub-blocks the lanes.

Layout and formula: `pennyweight.formats.q3_k`. Source: llama.cpp ggml-quants.c `quantize_row_q3_K_{ref,impl}`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q3_k
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits, half_value
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import clamped, load_half, nearest_int, store_half
from pennyweight.kernels.search_qx import codes_for_step, codes_found, extreme_of, search_q3, search_qx
from pennyweight.kernels.simd import lane, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes, transpose
from pennyweight.kernels.tiles import sums_of_squares, weigh

_TOP, _SCALE_TOP = 4, 32
_ZERO, _TWO = np.float32(0), np.float32(2)
_BYTES = q3_k.LAYOUT.itemsize
_HIGH, _LOW, _SCALES, _D = offsets(q3_k.LAYOUT, "hmask", "qs", "scales", "d")


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """float32 (n, columns) → `out`, uint8 (n, row_bytes)."""
    if importance is None:
        _encode_plain(rows, out)
    else:
        _encode_weighted(rows, importance, out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """uint8 (n, row_bytes) → `out`, float32 (n, columns)."""
    _decode(data, out)


@kernel
def _encode_plain(rows, out):
    """Two super-blocks at a time."""
    source, data = rows.reshape(-1), out.reshape(-1)
    x, levels, turned = np.zeros(512, np.float32), np.empty(512, np.float32), np.empty(256, np.float32)
    scales, codes = np.empty(32, np.float32), np.empty(256, np.uint8)
    for first in range(0, source.size // 256, 2):
        count = min(2, source.size // 256 - first)
        for block in range(count):
            transpose(source, 256 * (first + block), 16, x, 256 * block)
        scale, scale_2 = search_q3(x, levels, _TOP)
        store(scales, 0, scale)
        store(scales, 16, scale_2)
        for block in range(count):
            transpose(levels, 256 * block, 16, turned, 0)
            for i in range(0, 256, 16):
                store_bytes(codes, i, truncated(load(turned, i)) + _TOP)
            at = _BYTES * (first + block)
            scale_codes, d = _code_scales(scales[16 * block : 16 * block + 16])
            _write(source, 256 * (first + block), scale_codes, d, codes, data[at : at + _BYTES])


@lane_function
def _code_scales(scales):
    """Sixteen scales → Ints 0..63, and d; all 0 where the scales are."""
    extreme = extreme_of(scales)
    if extreme == _ZERO:
        return splat(0), _ZERO
    factor = np.float32(-_SCALE_TOP) / extreme
    levels = clamped(nearest_int(load(scales, 0) * factor), -_SCALE_TOP, _SCALE_TOP - 1)
    return levels + _SCALE_TOP, np.float32(1) / factor


@kernel
def _encode_weighted(rows, importance, out):
    """Sixteen super-blocks at a time: a search for the scales of each, then one for the sixteen `d` of those scales."""
    source, data = rows.reshape(-1), out.reshape(-1)
    x, w, wx = np.empty(256, np.float32), np.empty(256, np.float32), np.empty(256, np.float32)
    scales, totals, d = np.zeros(256, np.float32), np.zeros(256, np.float32), np.empty(16, np.float32)
    inverses, codes = np.empty(16, np.float32), np.empty(16 * 256, np.uint8)
    squares = sums_of_squares(source, 256)
    for first in range(0, len(squares), 16):
        count = min(16, len(squares) - first)
        for block in range(count):
            start = 256 * (first + block)
            transpose(source, start, 16, x, 0)
            transpose(importance, start % rows.shape[1], 16, w, 0)
            weigh(x, w, 16, splat(_TWO * squares[first + block] / np.float32(256)))
            total = splat(_ZERO)
            for i in range(0, 256, 16):
                total = total + load(w, i)
            store(totals, 16 * block, total)
            scale, inverse = search_qx(x, w, wx, 16, _TOP)
            store(scales, 16 * block, scale)
            store(inverses, 0, inverse)
            for sub in range(16):
                found = codes_found(load(source, start + 16 * sub), inverses[sub], _TOP)
                store_bytes(codes, 256 * block + 16 * sub, found)
        scale, inverse = _search_d(scales, totals, x, w, wx)
        store(d, 0, scale)
        store(inverses, 0, inverse)
        for block in range(count):
            scale_codes = codes_found(load(scales, 16 * block), inverses[block], _SCALE_TOP)
            start, at, found = 256 * (first + block), _BYTES * (first + block), codes[256 * block : 256 * block + 256]
            _write(source, start, scale_codes, d[block], found, data[at : at + _BYTES])


@lane_function
def _search_d(scales, totals, x, w, wx):
    """A lane is a super-block now: its sixteen scales are the numbers to be coded, their total weights the weights."""
    transpose(scales, 0, 16, x, 0)
    transpose(totals, 0, 16, w, 0)
    return search_qx(x, w, wx, 16, _SCALE_TOP)


@lane_function
def _write(source, start, scale_codes, d, codes, data):
    """One block into the bytes `data`. `codes` hold what the search found, which stays where the stored step is 0."""
    half = half_bits(d)
    store_half(data, _D, half)
    _pack_scales(scale_codes, data)
    steps = np.empty(16, np.float32)
    store(steps, 0, to_floats(scale_codes - _SCALE_TOP) * half_value(half))
    for sub in range(16):
        if steps[sub] != _ZERO:
            code = codes_for_step(load(source, start + 16 * sub), steps[sub], _TOP)
            store_bytes(codes, 16 * sub, code)
    _pack(codes, data)


@lane_function
def _pack_scales(scale_codes, data):
    """Sixteen 6-bit numbers → twelve bytes."""
    low, high = scale_codes & 15, scale_codes >> 4
    for i in range(8):
        data[_SCALES + i] = lane(low, i) | lane(low, i + 8) << 4
    for i in range(4):
        data[_SCALES + 8 + i] = (
            lane(high, i) | lane(high, i + 4) << 2 | lane(high, i + 8) << 4 | lane(high, i + 12) << 6
        )


@lane_function
def _unpack_scales(data, at, scales):
    """Twelve bytes → sixteen numbers 0..63, float32."""
    for i in range(8):
        top = np.int32(data[at + 8 + i % 4]) >> 2 * (i // 4)
        scales[i] = np.int32(data[at + i]) & 15 | (top & 3) << 4
        scales[i + 8] = np.int32(data[at + i]) >> 4 | (top >> 4 & 3) << 4


@lane_function
def _pack(codes, data):
    """Sixteen columns at a time: low two bits of four codes to a byte, third bits of eight."""
    for column in (0, 16):
        high = splat(0)
        for half in range(2):
            low = splat(0)
            for k in range(4):
                code = load_bytes(codes, 128 * half + 32 * k + column)
                low = low | (code & 3) << 2 * k
                high = high | code >> 2 << (4 * half + k)
            store_bytes(data, _LOW + 32 * half + column, low)
        store_bytes(data, _HIGH + column, high)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    steps = np.empty(16, np.float32)
    for block in range(target.size // 256):
        at = _BYTES * block
        _unpack_scales(source, at + _SCALES, steps)
        store(steps, 0, (load(steps, 0) - np.float32(_SCALE_TOP)) * load_half(source, at + _D))
        for column in range(2):
            high = load_bytes(source, at + _HIGH + 16 * column)
            for half in range(2):
                low = load_bytes(source, at + _LOW + 32 * half + 16 * column)
                for k in range(4):
                    code = low >> 2 * k & 3 | (high >> (4 * half + k) & 1) << 2
                    sub = 8 * half + 2 * k + column
                    store(target, 256 * block + 16 * sub, to_floats(code - _TOP) * steps[sub])
