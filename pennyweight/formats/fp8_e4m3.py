"""FP8_E4M3: 1 weight in 1 byte, 8 bits per weight: OCP E4M3, also written E4M3FN (finite numbers and NaN only).

    bit 7 sign, 6..3 exponent (bias 7), 2..0 fraction; largest 448 (0x7E), smallest 2^-9; 0x7F and 0xFF are NaN.

Rounds to nearest, ties to even. Overflow, infinity included, saturates to ±448: a weight a little past the edge is
worth more clipped than lost. torch 2.13's cast to `float8_e4m3fn` does the same, byte for byte; ml_dtypes gives NaN
past 464, the tie between 448 and the 480 that does not exist. No scale is stored: that is the method's.

Source: OCP 8-bit Floating Point Specification (OFP8) 1.0, section 5.1; Micikevicius et al. 2022, arXiv:2209.05433.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, Floats
from pennyweight.formats.float8 import read_codes, round_codes

LAYOUT = np.dtype([("value", "u1")])

FRACTION_BITS, BIAS, LARGEST = 3, 7, 0x7E


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance
    return round_codes(weights[..., 0], FRACTION_BITS, BIAS, LARGEST).view(LAYOUT)


def decode_blocks(blocks: Blocks) -> Floats:
    codes = blocks["value"][..., None]
    nan = (codes & 0x7F) == 0x7F
    return np.where(nan, np.float32(np.nan), read_codes(codes, FRACTION_BITS, BIAS))


FP8_E4M3 = BlockFormat(
    name="FP8_E4M3",
    ggml_type=None,  # GGUF has no FP8 tensor; safetensors checkpoints do
    block_size=1,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    uses_importance=False,
    source="OCP 8-bit Floating Point Specification 1.0",
)
