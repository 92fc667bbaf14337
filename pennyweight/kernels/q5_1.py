"""Q5_1, fast: encoded sixteen rows abreast. Layout and definition: `pennyweight.formats.q5_1`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q5_1
from pennyweight.formats.search import weighted_search
from pennyweight.kernels import classic
from pennyweight.kernels.compile import kernel
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.rounding import load_fifth_bits, load_half, store_fifth_bits
from pennyweight.kernels.search_qkx import compiled
from pennyweight.kernels.simd import LANES, to_floats
from pennyweight.kernels.simd_memory import load_bytes, store, store_bytes
from pennyweight.kernels.superblock import encode_in_tiles, gather, new_scratch

_SEARCH = compiled(weighted_search(q5_1.TOP))
_BYTES = q5_1.LAYOUT.itemsize
_D, _M, _HIGH, _LOW = offsets(q5_1.LAYOUT, "d", "m", "qh", "qs")


def encode(rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]) -> None:
    """Fill `out`; the contract is in `pennyweight.kernels`."""
    encode_in_tiles(_encode, rows, importance, out)


def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Fill `out`; the contract is in `pennyweight.kernels`."""
    _decode(data, out)


@kernel
def _encode(rows, importance, out):
    count, columns = rows.shape
    s = new_scratch()
    for first in range(0, count, LANES):
        variance = classic.row_variance(rows, first, importance)
        for block in range(columns // 32):
            gather(rows, first, block * 32, 32, s.x)
            classic.fit(s, _SEARCH, importance, block * 32, variance)
            for lane in range(LANES):
                packed = out[first + lane, block * _BYTES : (block + 1) * _BYTES]
                classic.pack_header(s, lane, packed)
                at = (first + lane) * columns + block * 32
                low = classic.codes_of(rows, at, s, lane, _SEARCH, importance)
                high = classic.codes_of(rows, at + LANES, s, lane, _SEARCH, importance)
                store_bytes(packed, _LOW, (low & 15) | ((high & 15) << 4))
                store_fifth_bits(packed, _HIGH, low, high)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    for block in range(target.size // 32):
        at = _BYTES * block
        d, m = load_half(source, at + _D), load_half(source, at + _M)
        codes = load_bytes(source, at + _LOW)
        low, high = load_fifth_bits(source, at + _HIGH)
        store(target, 32 * block, to_floats(codes & 15 | low) * d + m)
        store(target, 32 * block + 16, to_floats(codes >> 4 | high) * d + m)
