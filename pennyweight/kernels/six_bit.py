"""What the encoders of Q4_K and Q5_K share: eight sub-blocks of 32, scales and minimums of six bits.

Source: llama.cpp ggml-quants.c (b11549) `quantize_row_q4_K_{ref,impl}`, `quantize_row_q5_K_{ref,impl}`.
"""

import numpy as np

from pennyweight.formats.six_bit import TOP
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.half import half_bits
from pennyweight.kernels.rounding import load_half, store_half
from pennyweight.kernels.search_qkx import clamp
from pennyweight.kernels.simd import LANES, magnitude, splat, square_root
from pennyweight.kernels.simd_memory import load, store
from pennyweight.kernels.superblock import code_by_largest, search_group

_ZERO, _COUNT, _TOP = np.float32(0), np.float32(32), np.float32(TOP)


@lane_function
def search_plain(s, search):
    """All sub-blocks without importance: weights RMS + |x|; the largest scale and minimum become 63."""
    for group in range(8):
        _weigh(s.x, group * 32 * LANES, s.weights)
        search_group(s, group, 32, search)
    store(s.unit, 0, code_by_largest(s.scale, s.scale_code, 8, _TOP))
    store(s.unit, LANES, code_by_largest(s.minimum, s.minimum_code, 8, _TOP))
    limit(s)


@lane_function
def _weigh(x, at, weights):
    total = splat(_ZERO)
    for i in range(32):
        value = load(x, at + i * LANES)
        total = total + value * value
    root_mean_square = square_root(total / _COUNT)
    for i in range(32):
        store(weights, i * LANES, root_mean_square + magnitude(load(x, at + i * LANES)))


@lane_function
def limit(s):
    """Codes of scales and minimums to at most 63: a negative scale has wrapped to 255 or so."""
    for i in range(8):
        store(s.scale_code, i * LANES, clamp(load(s.scale_code, i * LANES), _TOP))
        store(s.minimum_code, i * LANES, clamp(load(s.minimum_code, i * LANES), _TOP))


@lane_function
def pack_header(s, lane, block):
    """Write d, dmin and the twelve bytes of scales of row `lane` to `block`, uint8 (16,), laid out as LAYOUT begins."""
    store_half(block, 0, half_bits(s.unit[lane]))
    store_half(block, 2, half_bits(s.unit[LANES + lane]))
    for i in range(4):
        scale, minimum = np.int64(s.scale_code[i * LANES + lane]), np.int64(s.minimum_code[i * LANES + lane])
        high_scale = np.int64(s.scale_code[(i + 4) * LANES + lane])
        high_minimum = np.int64(s.minimum_code[(i + 4) * LANES + lane])
        block[4 + i] = scale | high_scale >> 4 << 6
        block[8 + i] = minimum | high_minimum >> 4 << 6
        block[12 + i] = high_scale & 15 | (high_minimum & 15) << 4


@lane_function
def unpack_steps(block, steps):
    """Of a written header, d · scale and dmin · minimum of each sub-block → the first eight columns of `steps`,
    float32 (2, 8 or more)."""
    d, dmin = load_half(block, 0), load_half(block, 2)
    for i in range(4):
        scale, minimum, rest = np.int64(block[4 + i]), np.int64(block[8 + i]), np.int64(block[12 + i])
        steps[0, i], steps[1, i] = d * np.float32(scale & 63), dmin * np.float32(minimum & 63)
        steps[0, i + 4] = d * np.float32(rest & 15 | scale >> 6 << 4)
        steps[1, i + 4] = dmin * np.float32(rest >> 4 | minimum >> 6 << 4)
