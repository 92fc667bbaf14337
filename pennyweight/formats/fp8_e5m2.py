"""FP8_E5M2: 1 weight in 1 byte, 8 bits per weight: OCP E5M2, the upper byte of a float16.

    bit 7 sign, 6..2 exponent (bias 15), 1..0 fraction; largest 57344 (0x7B), smallest 2^-16; 0x7C is infinity,
    0x7D..0x7F are NaN.

Rounds to nearest, ties to even. Overflow, from 61440 on, is infinity, as IEEE 754 rounds and as torch's cast to
`float8_e5m2` and ml_dtypes do; NaN becomes 0x7F, as in torch (ml_dtypes: 0x7E). No scale is stored: that is the
method's.

Source: OCP 8-bit Floating Point Specification (OFP8) 1.0, section 5.2; Micikevicius et al. 2022, arXiv:2209.05433.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats
from pennyweight.formats.float8 import round_codes

LAYOUT = np.dtype([("value", "u1")])

FRACTION_BITS, BIAS, INFINITY = 2, 15, 0x7C


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance
    return round_codes(weights[..., 0], FRACTION_BITS, BIAS, INFINITY).view(LAYOUT)


def decode_blocks(blocks: Blocks) -> Floats:
    return (blocks["value"].astype(np.uint16) << 8).view(np.float16)[..., None].astype(np.float32)


FP8_E5M2 = BlockFormat(
    name="FP8_E5M2",
    ggml_type=None,  # GGUF has no FP8 tensor; safetensors checkpoints do
    block_size=1,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    uses_importance=False,
    source="OCP 8-bit Floating Point Specification 1.0",
)
