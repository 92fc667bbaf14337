"""Q5_K, fast: encoded sixteen rows abreast. Layout and definition: `pennyweight.formats.q5_k`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q5_k
from pennyweight.formats.search import weighted_search
from pennyweight.formats.six_bit import TOP
from pennyweight.formats.superblock import SIZE
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.search_qkx import compiled
from pennyweight.kernels.simd import LANES, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load_bytes, store, store_bytes
from pennyweight.kernels.six_bit import limit, pack_header, search_plain, unpack_steps
from pennyweight.kernels.superblock import Weighted, encode_in_tiles, gather, new_scratch, round_again, search_weighted

_PLAIN, _SEARCH = compiled(q5_k.PLAIN), compiled(weighted_search(q5_k.PLAIN.top))
_WEIGHTED = Weighted(search=_SEARCH, count=32, factor=np.float32(2), top=np.float32(TOP))
_BYTES = q5_k.LAYOUT.itemsize
_HIGH, _LOW = offsets(q5_k.LAYOUT, "qh", "qs")


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
                search_plain(s, _PLAIN)
                _pack_tile(rows, first, block, s, _PLAIN, out)
            else:
                search_weighted(s, importance, block * SIZE, _WEIGHTED)
                limit(s)  # Q4_K's encoder does not
                _pack_tile(rows, first, block, s, _SEARCH, out)


@lane_function
def _pack_tile(rows, first, block, s, search, out):
    """Round and write super-block `block` of sixteen rows."""
    for lane in range(LANES):
        packed = out[first + lane, block * _BYTES : (block + 1) * _BYTES]
        pack_header(s, lane, packed)
        unpack_steps(packed, s.steps)
        at = (first + lane) * rows.shape[1] + block * SIZE
        for half in range(2):
            fifth = splat(0)
            for pair in range(4):
                place = at + 64 * pair + LANES * half
                low = truncated(round_again(rows, place, s, 2 * pair, lane, search))
                high = truncated(round_again(rows, place + 32, s, 2 * pair + 1, lane, search))
                store_bytes(packed, _LOW + 32 * pair + LANES * half, (low & 15) | ((high & 15) << 4))
                fifth = fifth | (((low >> 4) | ((high >> 4) << 1)) << (2 * pair))
            store_bytes(packed, _HIGH + LANES * half, fifth)


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    steps = np.empty((2, 8), np.float32)
    for block in range(target.size // 256):
        at = _BYTES * block
        unpack_steps(source[at : at + _BYTES], steps)
        for run in range(8):
            codes = load_bytes(source, at + _LOW + 16 * run)
            fifth = load_bytes(source, at + _HIGH + 16 * (run % 2)) >> 2 * (run // 2)
            sub, place = 2 * (run // 2), 256 * block + 64 * (run // 2) + 16 * (run % 2)
            low, high = codes & 15 | (fifth & 1) << 4, codes >> 4 | (fifth & 2) << 3
            store(target, place, to_floats(low) * steps[0, sub] - steps[1, sub])
            store(target, place + 32, to_floats(high) * steps[0, sub + 1] - steps[1, sub + 1])
