"""Q3_K: 256 weights in 110 bytes, 3.4375 bits per weight.

Sixteen sub-blocks of 16 weights, each with a 6-bit scale:

    w[s, i] = d * (scale[s] - 32) * (q[s, i] - 4)      s in 0..15, i in 0..15, scale in 0..63, q in 0..7

    bytes 0..31 third bits: with weights counted 0..255, bit k of byte j is that of weight 32·k + j; 32..95 low two
    bits: byte 32·h + j of these holds those of weights 128·h + j + (0, 32, 64, 96) at bits 0, 2, 4, 6; 96..107 scales:
    byte s of the first eight holds the low four bits of scale[s] and scale[s + 8], byte 8 + j the top two of
    scale[j], scale[j + 4], scale[j + 8], scale[j + 12] at bits 0, 2, 4, 6; 108..109 d.

Source: llama.cpp ggml-common.h `block_q3_K`, ggml-quants.c `quantize_row_q3_K_{ref,impl}`, `dequantize_row_q3_K`.
"""

import numpy as np

from pennyweight.formats import superblock
from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.planes import pack_planes, unpack_planes
from pennyweight.formats.search import (
    importance_weights,
    largest_magnitude,
    make_q3,
    make_qx,
    nearest_int,
    ordered_sum,
)

LAYOUT = np.dtype([("hmask", "u1", 32), ("qs", "u1", (2, 32)), ("scales", "u1", 12), ("d", "<f2")])

TOP = 4
SCALE_TOP = 32


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    x = superblock.sub_blocks(weights, 16)
    if importance is None:
        scale, codes = make_q3(x, TOP)
        d, scales = _plain_scales(scale)
    else:
        w = importance_weights(x, superblock.sub_blocks(importance, 16), superblock.mean_square(weights, 2))
        scale, codes = make_qx(x, w, TOP)
        d, scales = make_qx(scale, ordered_sum(w), SCALE_TOP)
    blocks = np.zeros(weights.shape[:-1], LAYOUT)
    blocks["d"], blocks["scales"] = d.astype(np.float16), pack_scales(scales)
    codes = superblock.round_symmetric(x, _steps(blocks), codes, TOP)
    write_codes(blocks, codes)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    codes = read_codes(blocks).reshape(*blocks.shape, 16, 16).astype(np.float32) - np.float32(TOP)
    return (_steps(blocks)[..., None] * codes).reshape(*blocks.shape, superblock.SIZE)


def read_codes(blocks: Blocks) -> Codes:
    low, high = (unpack_planes(blocks[name], bits) for name, bits in (("qs", 2), ("hmask", 1)))
    flat = (*blocks.shape, superblock.SIZE)
    return low.reshape(flat) | high.reshape(flat) << 2


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["hmask"] = pack_planes((codes >> 2).reshape(*blocks.shape, 8, 32), 1)
    blocks["qs"] = pack_planes((codes & 3).reshape(*blocks.shape, 2, 4, 32), 2)


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(_steps(blocks), TOP)


def pack_scales(scales: Codes) -> Codes:
    """Sixteen 6-bit scales, uint8 (..., 16) → uint8 (..., 12)."""
    low = pack_planes((scales & 15).reshape(*scales.shape[:-1], 2, 8), 4)
    high = pack_planes((scales >> 4).reshape(*scales.shape[:-1], 4, 4), 2)
    return np.concatenate((low, high), axis=-1)


def unpack_scales(packed: Codes) -> Codes:
    """uint8 (..., 12) → uint8 (..., 16), each in 0..63."""
    shape = (*packed.shape[:-1], 16)
    return unpack_planes(packed[..., :8], 4).reshape(shape) | unpack_planes(packed[..., 8:], 2).reshape(shape) << 4


def _plain_scales(scale: Floats) -> tuple[Floats, Codes]:
    """Scales without importance: the one of largest magnitude becomes −32, so that both signs reach far enough."""
    largest = largest_magnitude(scale)
    inverse = np.float32(-SCALE_TOP) / largest
    codes = nearest_int(inverse[..., None] * scale).astype(np.int8)  # C stores an int8 before it clamps
    scales = (np.clip(codes, -SCALE_TOP, SCALE_TOP - 1) + SCALE_TOP).astype(np.uint8)
    nothing = largest == 0
    d = np.where(nothing, np.float32(0), np.float32(1) / inverse)
    return d, np.where(nothing[..., None], np.uint8(0), scales)


def _steps(blocks: Blocks) -> Floats:
    """d · (scale − 32) of each sub-block, float32 (..., 16)."""
    scales = unpack_scales(blocks["scales"]).astype(np.float32) - np.float32(SCALE_TOP)
    return blocks["d"].astype(np.float32)[..., None] * scales


Q3_K = BlockFormat(
    name="Q3_K",
    ggml_type=11,
    block_size=256,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(
        top=2 * TOP - 1, group_size=16, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps
    ),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q3_K",
)
