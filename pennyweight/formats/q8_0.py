"""Q8_0: 32 weights in 34 bytes, 8.5 bits per weight.

    w[i] = d * q[i]      i in 0..31, q in -127..127

    bytes 0..1 d, 2..33 codes, one signed byte each.

Source: llama.cpp ggml-common.h `block_q8_0`, ggml-quants.c `quantize_row_q8_0_ref`, `dequantize_row_q8_0`.
"""

import numpy as np

from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.classic import reciprocal, truncate_byte

LAYOUT = np.dtype([("d", "<f2"), ("qs", "i1", 32)])

TOP = 127


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    del importance  # the scale is the largest magnitude / 127, whatever matters most
    d = np.abs(weights).max(axis=-1) / np.float32(127)
    blocks = np.zeros(d.shape, LAYOUT)
    blocks["d"] = d.astype(np.float16)
    blocks["qs"] = truncate_byte(_round_half_away(weights * reciprocal(d)[..., None])).view(np.int8)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    return blocks["d"].astype(np.float32)[..., None] * blocks["qs"]


def read_codes(blocks: Blocks) -> Codes:
    return (blocks["qs"].astype(np.int16) + TOP).astype(np.uint8)


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qs"] = (codes.astype(np.int16) - TOP).astype(np.int8)


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(blocks["d"].astype(np.float32)[..., None], TOP)


def _round_half_away(value: Floats) -> Floats:
    """C's roundf, where np.rint would send halves to the even number. Adding 0.5 first would send 0.49999997 to 1."""
    whole = np.trunc(value)
    return whole + np.copysign(np.abs(value - whole) >= np.float32(0.5), value)


Q8_0 = BlockFormat(
    name="Q8_0",
    ggml_type=8,
    block_size=32,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(top=2 * TOP, group_size=32, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps),
    uses_importance=False,
    source="llama.cpp ggml-common.h block_q8_0",
)
