"""Q4_K, fast: encoded sixteen rows abreast. Layout and definition: `pennyweight.formats.q4_k`."""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import q4_k
from pennyweight.formats.search import weighted_search
from pennyweight.formats.six_bit import TOP
from pennyweight.formats.superblock import SIZE
from pennyweight.kernels.compile import kernel, lane_function
from pennyweight.kernels.layout import offsets
from pennyweight.kernels.search_qkx import compiled
from pennyweight.kernels.simd import LANES, to_floats, truncated
from pennyweight.kernels.simd_memory import load_bytes, store, store_bytes
from pennyweight.kernels.six_bit import pack_header, search_plain, unpack_steps
from pennyweight.kernels.superblock import Weighted, encode_in_tiles, gather, new_scratch, round_again, search_weighted

_PLAIN, _SEARCH = compiled(q4_k.PLAIN), compiled(weighted_search(q4_k.PLAIN.top))
_WEIGHTED = Weighted(search=_SEARCH, count=32, factor=np.float32(2), top=np.float32(TOP))
_BYTES = q4_k.LAYOUT.itemsize
(_CODES,) = offsets(q4_k.LAYOUT, "qs")
_SIXTEEN = np.float32(16)


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
                _pack_tile(rows, first, block, s, _SEARCH, out)


@lane_function
def _pack_tile(rows, first, block, s, search, out):
    """Round and write super-block `block` of sixteen rows."""
    for lane in range(LANES):
        packed = out[first + lane, block * _BYTES : (block + 1) * _BYTES]
        pack_header(s, lane, packed)
        unpack_steps(packed, s.steps)
        at = (first + lane) * rows.shape[1] + block * SIZE
        for pair in range(4):
            for half in range(2):
                place = at + 64 * pair + LANES * half
                low = round_again(rows, place, s, 2 * pair, lane, search)
                high = round_again(rows, place + 32, s, 2 * pair + 1, lane, search)
                store_bytes(packed, _CODES + 32 * pair + LANES * half, truncated(low + high * _SIXTEEN))


@kernel
def _decode(data, out):
    source, target = data.reshape(-1), out.reshape(-1)
    steps = np.empty((2, 8), np.float32)
    for block in range(target.size // 256):
        at = _BYTES * block
        unpack_steps(source[at : at + _BYTES], steps)
        for run in range(8):
            codes = load_bytes(source, at + _CODES + 16 * run)
            sub, place = 2 * (run // 2), 256 * block + 64 * (run // 2) + 16 * (run % 2)
            store(target, place, to_floats(codes & 15) * steps[0, sub] - steps[1, sub])
            store(target, place + 32, to_floats(codes >> 4) * steps[0, sub + 1] - steps[1, sub + 1])
