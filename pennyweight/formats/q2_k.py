"""Q2_K: 256 weights in 84 bytes, 2.625 bits per weight.

Sixteen sub-blocks of 16 weights, each with a 4-bit scale and a 4-bit minimum:

    w[s, i] = d * scale[s] * q[s, i] - dmin * minimum[s]      s in 0..15, i in 0..15, q in 0..3

    bytes 0..15: scale[s] in the low four bits, minimum[s] in the high four; 16..79 codes: with weights counted
    0..255, byte 32·h + j of these holds those of weights 128·h + j + (0, 32, 64, 96) at bits 0, 2, 4, 6;
    80..81 d, 82..83 dmin.

Source: llama.cpp ggml-common.h `block_q2_K`, ggml-quants.c `quantize_row_q2_K_{ref,impl}`, `dequantize_row_q2_K`.
"""

import numpy as np

from pennyweight.formats import superblock
from pennyweight.formats.base import BlockFormat, Blocks, CodeGrid, Codes, Floats, Steps
from pennyweight.formats.planes import pack_planes, unpack_planes
from pennyweight.formats.search import AffineSearch, importance_weights, make_qkx, make_qp, ordered_sum, weighted_search

LAYOUT = np.dtype([("scales", "u1", 16), ("qs", "u1", (2, 32)), ("d", "<f2"), ("dmin", "<f2")])

PLAIN = AffineSearch(top=3, start=-0.5, stride=0.1, steps=15, absolute_error=True)
WEIGHTED = weighted_search(3)
TOP = 15


def encode_blocks(weights: Floats, importance: Floats | None) -> Blocks:
    x = superblock.sub_blocks(weights, 16)
    if importance is None:
        scale, minimum, codes = make_qkx(x, np.abs(x), PLAIN)
        (d, scales), (dmin, minimums) = superblock.linear_codes(scale, TOP), superblock.linear_codes(minimum, TOP)
    else:
        w = importance_weights(x, superblock.sub_blocks(importance, 16), superblock.mean_square(weights))
        scale, minimum, codes = make_qkx(x, w, WEIGHTED)
        total = ordered_sum(w)
        (d, scales), (dmin, minimums) = make_qp(scale, total, TOP), make_qp(minimum, total, TOP)
    blocks = np.zeros(weights.shape[:-1], LAYOUT)
    blocks["d"], blocks["dmin"] = d.astype(np.float16), dmin.astype(np.float16)
    blocks["scales"] = scales.astype(np.uint8) | minimums.astype(np.uint8) << 4
    codes = superblock.round_affine(x, *_steps(blocks), codes, PLAIN.top)
    write_codes(blocks, codes)
    return blocks


def decode_blocks(blocks: Blocks) -> Floats:
    step, minimum = _steps(blocks)
    codes = read_codes(blocks).reshape(*blocks.shape, 16, 16)
    return (step[..., None] * codes - minimum[..., None]).reshape(*blocks.shape, superblock.SIZE)


def read_codes(blocks: Blocks) -> Codes:
    return unpack_planes(blocks["qs"], 2).reshape(*blocks.shape, superblock.SIZE)


def write_codes(blocks: Blocks, codes: Codes) -> None:
    blocks["qs"] = pack_planes(codes.reshape(*blocks.shape, 2, 4, 32), 2)


def read_steps(blocks: Blocks) -> Steps:
    step, minimum = _steps(blocks)
    return Steps(step=step, zero=np.zeros_like(step), minimum=minimum)


def _steps(blocks: Blocks) -> tuple[Floats, Floats]:
    """d · scale and dmin · minimum of each sub-block, float32 (..., 16)."""
    d, dmin = (blocks[name].astype(np.float32)[..., None] for name in ("d", "dmin"))
    return d * (blocks["scales"] & 15), dmin * (blocks["scales"] >> 4)


Q2_K = BlockFormat(
    name="Q2_K",
    ggml_type=10,
    block_size=256,
    layout=LAYOUT,
    encode_blocks=encode_blocks,
    decode_blocks=decode_blocks,
    grid=CodeGrid(top=PLAIN.top, group_size=16, read_codes=read_codes, write_codes=write_codes, read_steps=read_steps),
    uses_importance=True,
    source="llama.cpp ggml-common.h block_q2_K",
)
