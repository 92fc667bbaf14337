"""F32: 1 weight in 4 bytes, 32 bits per weight: IEEE 754 binary32, little-endian, stored as it is.

    bit 31 sign, 30..23 exponent (bias 127), 22..0 fraction.

Source: llama.cpp ggml.h `GGML_TYPE_F32`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats

LAYOUT = np.dtype([("value", "<f4")])


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance
    return np.ascontiguousarray(weights[..., 0]).view(LAYOUT)


def decode_blocks(blocks: Blocks) -> Floats:
    return blocks["value"][..., None]


F32 = BlockFormat(
    name="F32",
    ggml_type=0,
    block_size=1,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    uses_importance=False,
    source="llama.cpp ggml.h GGML_TYPE_F32",
)
