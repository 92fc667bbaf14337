"""Q5_0: 32 weights in 22 bytes, 5.5 bits per weight.

    w[i] = d * (q[i] - 16)      i in 0..31, q in 0..31

    bytes 0..1 d, 2..5 fifth bits, bit i % 8 of byte i // 8, 6..21 codes: byte j holds the low four bits of q[j]
    below, of q[j + 16] above.

Source: llama.cpp ggml-common.h `block_q5_0`, ggml-quants.c `quantize_row_q5_0_{ref,impl}`, `dequantize_row_q5_0`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.classic import (
    encode_symmetric,
    pack_fifth_bits,
    pack_nibbles,
    unpack_fifth_bits,
    unpack_nibbles,
)

LAYOUT = np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])

TOP = 16


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    d, codes = encode_symmetric(weights, importance, TOP)
    blocks = np.zeros(d.shape, LAYOUT)
    blocks["d"] = d.astype(np.float16)
    write_codes(blocks, codes)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    d = blocks["d"].astype(np.float32)[..., None]
    return d * (read_codes(blocks).astype(np.float32) - np.float32(TOP))


def read_codes(blocks: Blocks) -> Codes:
    return unpack_nibbles(blocks["qs"]) | unpack_fifth_bits(blocks["qh"])


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qh"], blocks["qs"] = pack_fifth_bits(codes), pack_nibbles(codes)


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(blocks["d"].astype(np.float32)[..., None], TOP)


Q5_0 = BlockFormat(
    name="Q5_0",
    ggml_type=6,
    block_size=32,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(
        top=2 * TOP - 1, group_size=32, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps
    ),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q5_0",
)
