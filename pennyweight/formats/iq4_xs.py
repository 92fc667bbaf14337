"""IQ4_XS: 256 weights in 136 bytes, 4.25 bits per weight.

Eight sub-blocks of 32 weights, each with a 6-bit scale:

    w[s, i] = d * (scale[s] - 32) * VALUES[q[s, i]]      s in 0..7, i in 0..31, q in 0..15, VALUES in `codebook`

    bytes 0..1 d; 2..3, a little-endian number: top two bits of scale[s] at bit 2·s; 4..7: low four bits of scale[2j]
    and scale[2j + 1] in byte j; 8..135 codes: byte 16·s + j of these holds q[s, j] below and q[s, j + 16] above.

Source: llama.cpp ggml-common.h `block_iq4_xs`, ggml-quants.c `quantize_iq4_xs`, `dequantize_row_iq4_xs`.
"""

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import codebook, superblock
from pennyweight.formats.base import BlockFormat, Blocks, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.classic import pack_nibbles, reciprocal, unpack_nibbles
from pennyweight.formats.search import largest_magnitude, nearest_int, ordered_sum

LAYOUT = np.dtype([("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", (8, 16))])

SCALE_TOP = 32


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    x = superblock.sub_blocks(weights, 32)
    grouped = None if importance is None else superblock.sub_blocks(importance, 32)
    found = codebook.search_scale(x, grouped, ordered_sum(weights * weights)[..., None], 256)
    d = -largest_magnitude(found) / np.float32(SCALE_TOP)
    scales = np.clip(nearest_int(reciprocal(d)[..., None] * found), -SCALE_TOP, SCALE_TOP - 1)
    # Codes follow the float32 d, not the float16 that a reader sees.
    step = d[..., None] * scales.astype(np.float32)
    blocks = np.zeros(d.shape, LAYOUT)
    blocks["d"] = d.astype(np.float16)
    blocks["scales_h"], blocks["scales_l"] = pack_scales((scales + SCALE_TOP).astype(np.uint8))
    write_codes(blocks, codebook.nearest_code(reciprocal(step)[..., None] * x))
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    values = codebook.VALUES[unpack_nibbles(blocks["qs"])]
    return (_steps(blocks)[..., None] * values).reshape(*blocks.shape, superblock.SIZE)


def read_codes(blocks: Blocks) -> Codes:
    return unpack_nibbles(blocks["qs"]).reshape(*blocks.shape, superblock.SIZE)


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qs"] = pack_nibbles(codes.reshape(*blocks.shape, 8, 32))


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(_steps(blocks), 0)


def _steps(blocks: Blocks) -> Floats:
    """d · (scale − 32) of each sub-block, float32 (..., 8)."""
    scales = unpack_scales(blocks["scales_h"], blocks["scales_l"]).astype(np.float32) - np.float32(SCALE_TOP)
    return blocks["d"].astype(np.float32)[..., None] * scales


def pack_scales(scales: Codes) -> tuple[NDArray[np.uint16], Codes]:
    """Eight 6-bit scales, uint8 (..., 8) → scales_h, uint16 (...), and scales_l, uint8 (..., 4)."""
    high = np.bitwise_or.reduce((scales >> 4).astype(np.uint16) << _HIGH_SHIFTS, axis=-1)
    return high, scales[..., 0::2] & 15 | (scales[..., 1::2] & 15) << 4


def unpack_scales(high: NDArray[np.uint16], low: Codes) -> Codes:
    """scales_h (...) and scales_l (..., 4) → uint8 (..., 8), each in 0..63."""
    nibbles = np.stack((low & 15, low >> 4), axis=-1).reshape(*low.shape[:-1], 8)
    return nibbles | (high[..., None] >> _HIGH_SHIFTS & 3).astype(np.uint8) << 4


_HIGH_SHIFTS = np.arange(0, 16, 2, dtype=np.uint16)

IQ4_XS = BlockFormat(
    name="IQ4_XS",
    ggml_type=23,
    block_size=256,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=codebook.grid(32, read_codes, write_codes, read_steps),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_iq4_xs",
)
