"""Q5_K: 256 weights in 176 bytes, 5.5 bits per weight.

Eight sub-blocks of 32 weights, each with a 6-bit scale and a 6-bit minimum:

    w[s, i] = d * scale[s] * q[s, i] - dmin * minimum[s]      s in 0..7, i in 0..31, q in 0..31

    bytes 0..1 d, 2..3 dmin, 4..15 scales and minimums (`six_bit`), 16..47 fifth bits: bit s of byte i is that of
    q[s, i]; 48..175 low four bits: byte 32·p + i of these holds q[2p, i] below and q[2p + 1, i] above.

Source: llama.cpp ggml-common.h `block_q5_K`, ggml-quants.c `quantize_row_q5_K_{ref,impl}`, `dequantize_row_q5_K`.
"""

import numpy as np

from pennyweight.formats import six_bit, superblock
from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats
from pennyweight.formats.planes import pack_planes, unpack_planes
from pennyweight.formats.search import AffineSearch, weighted_search

LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", (4, 32))])

PLAIN = AffineSearch(top=31, start=-0.5, stride=0.1, steps=15)
WEIGHTED = weighted_search(31)


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    found = six_bit.encode(weights, importance, PLAIN, WEIGHTED)
    blocks = np.zeros(found.d.shape, LAYOUT)
    blocks["d"], blocks["dmin"] = found.d, found.dmin
    blocks["scales"] = six_bit.pack_scales(found.scales, found.minimums)
    write_codes(blocks, found.codes)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    return six_bit.decode(blocks, read_codes(blocks).reshape(*blocks.shape, 8, 32))


def read_codes(blocks: Blocks) -> Codes:
    low = unpack_planes(blocks["qs"], 4).reshape(*blocks.shape, 8, 32)
    return (low | unpack_planes(blocks["qh"], 1) << 4).reshape(*blocks.shape, superblock.SIZE)


def write_codes(blocks: Blocks, codes: Codes) -> None:
    codes = codes.reshape(*blocks.shape, 8, 32)
    blocks["qh"] = pack_planes(codes >> 4, 1)
    blocks["qs"] = pack_planes((codes & 15).reshape(*blocks.shape, 4, 2, 32), 4)


Q5_K = BlockFormat(
    name="Q5_K",
    ggml_type=13,
    block_size=256,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(
        top=PLAIN.top, group_size=32, read_codes=read_codes, write_codes=write_codes, read_steps=six_bit.read_steps
    ),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q5_K",
)
