"""Q2_K, fast: encoded sixteen rows abreast. Layout and definition: `pennyweight.formats.q2_k`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q2_k
from pennyweight.formats.search import weighted_search
from pennyweight.formats.superblock import SIZE
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.half import half_bits, half_value
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import load_half, store_half
from pennyweight.kernels.search_qkx import compiled
from pennyweight.kernels.simd import LANES, magnitude, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load, load_bytes, store, store_bytes
from pennyweight.kernels.superblock import (
    Weighted,
    code_by_largest,
    encode_in_tiles,
    gather,
    new_scratch,
    round_again,
    search_group,
    search_weighted,
)

_PLAIN, _SEARCH = compiled(q2_k.PLAIN), compiled(weighted_search(q2_k.PLAIN.top))
_TOP = np.float32(q2_k.TOP)
_WEIGHTED = Weighted(search=_SEARCH, count=16, factor=np.float32(1), top=_TOP)
_BYTES = q2_k.LAYOUT.itemsize
_SCALES, _CODES, _D, _DMIN = offsets(q2_k.LAYOUT, "scales", "qs", "d", "dmin")
_GROUPS = 16


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """Fill `out`; the contract is in `pennyweight.kernels`."""
    encode_in_tiles(_encode, rows, importance, out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Fill `out`; the contract is in `pennyweight.kernels`."""
    _decode(data, out)


@kernel
def _encode(rows, importance, out):
    s = new_scratch()
    for first in range(0, rows.shape[0], LANES):
        for block in range(rows.shape[1] // SIZE):
            gather(rows, first, block * SIZE, SIZE, s.x)
            if importance is None:
                _search_plain(s)
                _pack_tile(rows, first, block, s, _PLAIN, out)
            else:
                search_weighted(s, importance, block * SIZE, _WEIGHTED)
                _pack_tile(rows, first, block, s, _SEARCH, out)


@lane_function
def _search_plain(s):
    """All sub-blocks without importance: weights |x|; the largest scale and minimum become 15."""
    for group in range(_GROUPS):
        for i in range(16):
            store(s.weights, i * LANES, magnitude(load(s.x, (group * 16 + i) * LANES)))
        search_group(s, group, 16, _PLAIN)
    store(s.unit, 0, code_by_largest(s.scale, s.scale_code, _GROUPS, _TOP))
    store(s.unit, LANES, code_by_largest(s.minimum, s.minimum_code, _GROUPS, _TOP))


@lane_function
def _pack_tile(rows, first, block, s, search, out):
    """Round and write super-block `block` of sixteen rows."""
    for lane in range(LANES):
        packed = out[first + lane, block * _BYTES : (block + 1) * _BYTES]
        _pack_scales(s, lane, packed)
        at = (first + lane) * rows.shape[1] + block * SIZE
        for run in range(4):  # sixteen bytes each: weights 16 · run + (0, 32, 64, 96) on, past 128 for the last two
            codes = splat(0)
            for plane in range(4):
                group = 8 * (run // 2) + 2 * plane + run % 2
                code = round_again(rows, at + group * 16, s, group, lane, search)
                codes = codes | (truncated(code) << (2 * plane))
            store_bytes(packed, _CODES + 16 * run, codes)


@lane_function
def _pack_scales(s, lane, packed):
    """Write scales and minimums, d and dmin of row `lane`; keep the steps that a reader makes of them."""
    d, dmin = half_bits(s.unit[lane]), half_bits(s.unit[LANES + lane])
    store_half(packed, _D, d)
    store_half(packed, _DMIN, dmin)
    step, lowest = half_value(d), half_value(dmin)
    for group in range(_GROUPS):
        scale, minimum = np.int64(s.scale_code[group * LANES + lane]), np.int64(s.minimum_code[group * LANES + lane])
        both = (scale | minimum << 4) & 255
        packed[_SCALES + group] = both
        s.steps[0, group], s.steps[1, group] = step * np.float32(both & 15), lowest * np.float32(both >> 4)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    scales, minimums = np.empty(16, np.float32), np.empty(16, np.float32)
    for block in range(target.size // 256):
        at = _BYTES * block
        both = load_bytes(source, at + _SCALES)
        store(scales, 0, to_floats(both & 15) * load_half(source, at + _D))
        store(minimums, 0, to_floats(both >> 4) * load_half(source, at + _DMIN))
        for run in range(4):  # sixteen bytes: weights 16 · run + (0, 32, 64, 96) on, past 128 for the last two
            codes = load_bytes(source, at + _CODES + 16 * run)
            for plane in range(4):
                sub = 8 * (run // 2) + 2 * plane + run % 2
                weights = to_floats(codes >> 2 * plane & 3) * scales[sub] - minimums[sub]
                store(target, 256 * block + 16 * sub, weights)
