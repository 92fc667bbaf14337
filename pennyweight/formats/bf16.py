"""BF16: 1 weight in 2 bytes, 16 bits per weight: the upper half of a float32, little-endian.

    bit 15 sign, 14..7 exponent (bias 127), 6..0 fraction.

Rounds to nearest, ties to even, subnormals included; NaN keeps its upper bits and becomes quiet.

Source: llama.cpp ggml-impl.h `ggml_compute_fp32_to_bf16`, `ggml_compute_bf16_to_fp32`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats

LAYOUT = np.dtype([("value", "<u2")])


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance
    bits = np.ascontiguousarray(weights[..., 0]).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (np.uint32(0x7FFF) + (upper & 1))) >> 16
    nan = (bits & 0x7FFFFFFF) > 0x7F800000  # rounding up could carry a NaN into infinity
    return np.where(nan, upper | 64, rounded).astype("<u2").view(LAYOUT)


def decode_blocks(blocks: Blocks) -> Floats:
    return (blocks["value"].astype(np.uint32) << 16).view(np.float32)[..., None]


BF16 = BlockFormat(
    name="BF16",
    ggml_type=30,
    block_size=1,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    uses_importance=False,
    source="llama.cpp ggml.h GGML_TYPE_BF16",
)
