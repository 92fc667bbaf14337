"""Q4_1: 32 weights in 20 bytes, 5 bits per weight.

    w[i] = d * q[i] + m      i in 0..31, q in 0..15

    bytes 0..1 d, 2..3 m, 4..19 codes: byte j holds q[j] in its low four bits and q[j + 16] in its high.

Source: llama.cpp ggml-common.h `block_q4_1`, ggml-quants.c `quantize_row_q4_1_{ref,impl}`, `dequantize_row_q4_1`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps
from pennyweight.formats.classic import encode_affine, pack_nibbles, unpack_nibbles

LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])

TOP = 15


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    d, m, codes = encode_affine(weights, importance, TOP)
    blocks = np.zeros(d.shape, LAYOUT)
    blocks["d"], blocks["m"] = d.astype(np.float16), m.astype(np.float16)
    write_codes(blocks, codes)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    d, m = (blocks[name].astype(np.float32)[..., None] for name in ("d", "m"))
    return d * read_codes(blocks) + m


def read_codes(blocks: Blocks) -> Codes:
    return unpack_nibbles(blocks["qs"])


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qs"] = pack_nibbles(codes)


def read_steps(blocks: Blocks) -> Steps:
    d, m = (blocks[name].astype(np.float32)[..., None] for name in ("d", "m"))
    return Steps(step=d, zero=np.zeros_like(d), minimum=-m)


Q4_1 = BlockFormat(
    name="Q4_1",
    ggml_type=3,
    block_size=32,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(top=TOP, group_size=32, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q4_1",
)
