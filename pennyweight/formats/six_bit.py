"""What Q4_K and Q5_K share: eight sub-blocks of 32 weights, each with a 6-bit scale and a 6-bit minimum.

    w[s, i] = d * scale[s] * q[s, i] - dmin * minimum[s]      s in 0..7, i in 0..31

Sixteen 6-bit numbers in twelve bytes; s in 0..3:

    byte s      =  scale[s]            | top 2 bits of scale[s + 4]   << 6
    byte s + 4  =  minimum[s]          | top 2 bits of minimum[s + 4] << 6
    byte s + 8  =  low 4 of scale[s+4] | low 4 bits of minimum[s + 4] << 4

Source: llama.cpp ggml-quants.c (b11549) `get_scale_min_k4`, `quantize_row_q4_K_{ref,impl}`, `dequantize_row_q4_K`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats import superblock
from pennyweight.formats.base import Blocks, Codes, Floats, Steps
from pennyweight.formats.search import (
    AffineSearch,
    importance_weights,
    make_qkx,
    make_qp,
    ordered_sum,
)

TOP = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class SixBitBlocks:
    """The numbers of Q4_K and Q5_K blocks before they are packed.

    Attributes:
        d, dmin: float16 (...).
        scales, minimums: uint8 (..., 8) in 0..63.
        codes: uint8 (..., 8, 32).
    """

    d: NDArray[np.float16]
    dmin: NDArray[np.float16]
    scales: Codes
    minimums: Codes
    codes: Codes


def pack_scales(scales: Codes, minimums: Codes) -> Codes:
    """Scales and minimums, uint8 (..., 8) each, below 64 → uint8 (..., 12)."""
    low, high = np.s_[..., :4], np.s_[..., 4:]
    parts = (
        scales[low] | scales[high] >> 4 << 6,
        minimums[low] | minimums[high] >> 4 << 6,
        scales[high] & 15 | (minimums[high] & 15) << 4,
    )
    return np.concatenate(parts, axis=-1)


def unpack_scales(packed: Codes) -> tuple[Codes, Codes]:
    """uint8 (..., 12) → scales and minimums, uint8 (..., 8) each."""
    first, second, third = packed[..., :4], packed[..., 4:8], packed[..., 8:]
    scales = np.concatenate((first & 63, third & 15 | first >> 6 << 4), axis=-1)
    minimums = np.concatenate((second & 63, third >> 4 | second >> 6 << 4), axis=-1)
    return scales, minimums


def encode(weights: Floats, importance: Floats | None, plain: AffineSearch, weighted: AffineSearch) -> SixBitBlocks:
    """Search scales, minimums and codes of (..., 256) weights, as `plain` says or, given importance, `weighted`."""
    x = superblock.sub_blocks(weights, 32)
    if importance is None:
        root_mean_square = np.sqrt(ordered_sum(x * x) / np.float32(32))
        scale, minimum, codes = make_qkx(x, root_mean_square[..., None] + np.abs(x), plain)
        (d, scales), (dmin, minimums) = superblock.linear_codes(scale, TOP), superblock.linear_codes(minimum, TOP)
        scales, minimums = (np.minimum(v & 255, TOP).astype(np.uint8) for v in (scales, minimums))
    else:
        w = importance_weights(x, superblock.sub_blocks(importance, 32), superblock.mean_square(weights, 2))
        scale, minimum, codes = make_qkx(x, w, weighted)
        total = ordered_sum(w)
        (d, scales), (dmin, minimums) = make_qp(scale, total, TOP), make_qp(minimum, total, TOP)
        d, dmin = d.astype(np.float16), dmin.astype(np.float16)
    codes = superblock.round_affine(x, *steps(d, dmin, scales, minimums), codes, plain.top)
    return SixBitBlocks(d=d, dmin=dmin, scales=scales, minimums=minimums, codes=codes)


def steps(d: NDArray[np.float16], dmin: NDArray[np.float16], scales: Codes, minimums: Codes) -> tuple[Floats, Floats]:
    """What a reader computes: d · scale and dmin · minimum of each sub-block, float32 (..., 8)."""
    return d.astype(np.float32)[..., None] * scales, dmin.astype(np.float32)[..., None] * minimums


def read_steps(blocks: Blocks) -> Steps:
    """Steps of the eight sub-blocks of each block."""
    step, minimum = steps(blocks["d"], blocks["dmin"], *unpack_scales(blocks["scales"]))
    return Steps(step=step, zero=np.zeros_like(step), minimum=minimum)


def decode(blocks: NDArray[np.void], codes: Codes) -> Floats:
    """Blocks (...) and their unpacked codes (..., 8, 32) → float32 (..., 256)."""
    step, minimum = steps(blocks["d"], blocks["dmin"], *unpack_scales(blocks["scales"]))
    return (step[..., None] * codes - minimum[..., None]).reshape(*blocks.shape, superblock.SIZE)
