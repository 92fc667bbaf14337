"""Q6_K: 256 weights in 210 bytes, 6.5625 bits per weight.

Sixteen sub-blocks of 16 weights, each with an 8-bit signed scale:

    w[s, i] = d * scale[s] * (q[s, i] - 32)      s in 0..15, i in 0..15, q in 0..63

    With weights counted 0..255 and halves h of 128: bytes 0..127 low four bits: byte 64·h + j (j in 0..63) holds
    those of weights 128·h + j and 128·h + j + 64; 128..191 top two bits: byte 32·h + j of these holds those of weights
    128·h + j + (0, 32, 64, 96) at bits 0, 2, 4, 6; 192..207 scales; 208..209 d.

Source: llama.cpp ggml-common.h `block_q6_K`, ggml-quants.c `quantize_row_q6_K_{ref,impl}`, `dequantize_row_q6_K`.
"""

import numpy as np

from pennyweight.formats import superblock
from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps, symmetric_steps
from pennyweight.formats.planes import pack_planes, unpack_planes
from pennyweight.formats.search import TOO_SMALL, largest_magnitude, make_qx, nearest_int

LAYOUT = np.dtype([("ql", "u1", (2, 64)), ("qh", "u1", (2, 32)), ("scales", "i1", 16), ("d", "<f2")])

TOP = 32


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    x = superblock.sub_blocks(weights, 16)
    # Importance is the weight itself here, without the √(σ² + x²) of the other formats.
    scale, codes = make_qx(x, x * x if importance is None else superblock.sub_blocks(importance, 16), TOP)
    largest = largest_magnitude(scale)
    inverse = np.float32(-128) / largest
    blocks = np.zeros(weights.shape[:-1], LAYOUT)
    blocks["d"] = (np.float32(1) / inverse).astype(np.float16)
    blocks["scales"] = np.minimum(nearest_int(inverse[..., None] * scale), 127).astype(np.int8)
    codes = superblock.round_symmetric(x, _steps(blocks), codes, TOP)
    write_codes(blocks, codes)
    blocks[np.abs(largest) < TOO_SMALL] = np.zeros((), LAYOUT)  # the whole block, codes too
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    codes = read_codes(blocks).reshape(*blocks.shape, 16, 16).astype(np.float32) - np.float32(TOP)
    return (_steps(blocks)[..., None] * codes).reshape(*blocks.shape, superblock.SIZE)


def read_codes(blocks: Blocks) -> Codes:
    low, high = (unpack_planes(blocks[name], bits) for name, bits in (("ql", 4), ("qh", 2)))
    flat = (*blocks.shape, superblock.SIZE)
    return low.reshape(flat) | high.reshape(flat) << 4


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["ql"] = pack_planes((codes & 15).reshape(*blocks.shape, 2, 2, 64), 4)
    blocks["qh"] = pack_planes((codes >> 4).reshape(*blocks.shape, 2, 4, 32), 2)


def read_steps(blocks: Blocks) -> Steps:
    return symmetric_steps(_steps(blocks), TOP)


def _steps(blocks: Blocks) -> Floats:
    """d · scale of each sub-block, float32 (..., 16)."""
    return blocks["d"].astype(np.float32)[..., None] * blocks["scales"]


Q6_K = BlockFormat(
    name="Q6_K",
    ggml_type=14,
    block_size=256,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(
        top=2 * TOP - 1, group_size=16, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps
    ),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q6_K",
)
