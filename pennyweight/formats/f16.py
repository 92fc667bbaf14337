"""F16: 1 weight in 2 bytes, 16 bits per weight: IEEE 754 binary16, little-endian.

    bit 15 sign, 14..10 exponent (bias 15), 9..0 fraction.

Rounds to nearest, ties to even; from 65520 on, infinity, as ggml gives. NaN stays NaN (ggml writes 0x7E00 for
any, but no NaN weight comes this far); reading makes it quiet, as in ggml.

Source: llama.cpp ggml-impl.h `ggml_compute_fp32_to_fp16`, `ggml_compute_fp16_to_fp32`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats

LAYOUT = np.dtype([("value", "<f2")])


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance
    return weights[..., 0].astype("<f2").view(LAYOUT)


def decode_blocks(blocks: Blocks) -> Floats:
    bits = blocks["value"][..., None].astype(np.float32).view(np.uint32)
    # NumPy's cast may keep a signalling NaN as it is, depending on the machine.
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, bits | 0x00400000, bits).view(np.float32)


F16 = BlockFormat(
    name="F16",
    ggml_type=1,
    block_size=1,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    uses_importance=False,
    source="llama.cpp ggml.h GGML_TYPE_F16",
)
