"""IQ4_NL: 32 weights in 18 bytes, 4.5 bits per weight.

    w[i] = d * VALUES[q[i]]      i in 0..31, q in 0..15, VALUES in `codebook`

    bytes 0..1 d, 2..17 codes: byte j holds q[j] in its low four bits and q[j + 16] in its high.

Source: llama.cpp ggml-common.h `block_iq4_nl`, ggml-quants.c `quantize_iq4_nl`, `dequantize_row_iq4_nl`. (Its
`quantize_row_iq4_nl_ref`, for caches and activations, tries no other scales; files are written with fifteen tries.)
"""

import numpy as np

from pennyweight.formats import codebook
from pennyweight.formats.base import BlockFormat, Blocks, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.classic import pack_nibbles, reciprocal, unpack_nibbles
from pennyweight.formats.search import ordered_sum

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    scale = codebook.search_scale(weights, importance, ordered_sum(weights * weights), 32)
    blocks = np.zeros(scale.shape, LAYOUT)
    blocks["d"] = scale.astype(np.float16)
    # Codes follow the float32 scale, not the float16 that a reader sees.
    write_codes(blocks, codebook.nearest_code(weights * reciprocal(scale)[..., None]))
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    return blocks["d"].astype(np.float32)[..., None] * codebook.VALUES[read_codes(blocks)]


def read_codes(blocks: Blocks) -> Codes:
    return unpack_nibbles(blocks["qs"])


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qs"] = pack_nibbles(codes)


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(blocks["d"].astype(np.float32)[..., None], 0)


IQ4_NL = BlockFormat(
    name="IQ4_NL",
    ggml_type=20,
    block_size=32,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=codebook.grid(32, read_codes, write_codes, read_steps),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_iq4_nl",
)
