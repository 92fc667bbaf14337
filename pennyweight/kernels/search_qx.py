"""The search for a symmetric scale, sixteen blocks abreast: w ≈ scale · (code − top), code in 0..2·top − 1.

Source: llama.cpp ggml-quants.c `make_qx_quants`, `make_q3_quants`; sums run over a block in its own order.
"""

import numpy as np

from pennyweight.formats.search import TOO_SMALL
from pennyweight.kernels.compile import lane_function
from pennyweight.kernels.rounding import clamped, nearest_int, rounded
from pennyweight.kernels.simd import any_lane, invert, magnitude, select, splat, to_floats, truncated
from pennyweight.kernels.simd_memory import load, store

_ZERO, _TENTH = np.float32(0), np.float32(0.1)


@lane_function
def largest(x, at, count):
    """The signed weight of largest magnitude (of equals, the first) in each lane of the tile of `count` at `at`."""
    found = splat(_ZERO)
    for i in range(at, at + 16 * count, 16):
        value = load(x, i)
        found = select(magnitude(value) > magnitude(found), value, found)
    return found


@lane_function
def search_qx(x, w, wx, count, top):
    """The scale that fits best among nineteen.

    Args:
        x, w: tiles of `count` weights and of how much each matters.
        wx: scratch of their size, for the products.
        top: half the number of codes.

    Returns:
        Floats scale, and Floats inverse: the factor that, rounded, gave the codes (0 where the block is too small).
    """
    for i in range(0, 16 * count, 16):
        store(wx, i, load(w, i) * load(x, i))
    extreme = largest(x, 0, count)
    inverse = splat(np.float32(-top)) / extreme
    sum_wxl, sum_wll = _sums(x, w, wx, count, top, inverse)
    scale = select(sum_wll == _ZERO, sum_wll, sum_wxl / sum_wll)
    best = scale * sum_wxl
    for step in range(-9, 10):
        if step == 0:
            continue
        candidate = splat(-(np.float32(top) + _TENTH * np.float32(step))) / extreme
        sum_wxl, sum_wll = _sums(x, w, wx, count, top, candidate)
        better = (sum_wll > _ZERO) & (sum_wxl * sum_wxl > best * sum_wll)
        scale = select(better, sum_wxl / sum_wll, scale)
        best = select(better, scale * sum_wxl, best)
        inverse = select(better, candidate, inverse)
    zero, small = splat(_ZERO), magnitude(extreme) < TOO_SMALL
    return select(small, zero, scale), select(small, zero, inverse)


@lane_function
def _sums(x, w, wx, count, top, inverse):
    """Σ w·x·l and Σ w·l·l for the codes l that `inverse` gives."""
    sum_wxl = splat(_ZERO)
    sum_wll = splat(_ZERO)
    for i in range(count):
        # |inverse · x| < top + 1: far inside what `rounded` takes.
        level = clamped(rounded(inverse * load(x, 16 * i)), np.float32(-top), np.float32(top - 1))
        sum_wxl = sum_wxl + load(wx, 16 * i) * level
        sum_wll = sum_wll + load(w, 16 * i) * level * level
    return sum_wxl, sum_wll


@lane_function
def search_q3(x, levels, top):
    """Q3_K's own search, weighted by x²: each code in turn moves to where it fits best, given all the others.

    Every step waits for the one before, divisions and all, so two tiles take turns: 1.7 times the speed of one.

    Args:
        x: two tiles of 16 weights, one after the other.
        levels: scratch of their size; on return codes − top, as floats; the code is 0 where the block is too small.
        top: half the number of codes.

    Returns:
        Floats scale, for each of the two tiles.
    """
    sum_wxl, sum_wll, small = _start(x, levels, 0, top)
    sum_wxl_2, sum_wll_2, small_2 = _start(x, levels, 256, top)
    for _ in range(5):
        # A lane that no longer changes would only repeat itself, so the others may go on without it being masked out.
        moved = small & invert(small)
        for i in range(0, 256, 16):
            sum_wxl, sum_wll, first = _move(x, levels, i, top, sum_wxl, sum_wll)
            sum_wxl_2, sum_wll_2, second = _move(x, levels, 256 + i, top, sum_wxl_2, sum_wll_2)
            moved = moved | first | second
        if not any_lane(moved):
            break
    return _end(levels, 0, top, sum_wxl, sum_wll, small), _end(levels, 256, top, sum_wxl_2, sum_wll_2, small_2)


@lane_function
def _start(x, levels, at, top):
    """First levels of the tile from `at` on, Σ w·x·l and Σ w·l·l, and where the block is too small."""
    extreme = largest(x, at, 16)
    inverse = splat(np.float32(-top)) / extreme
    sum_wxl, sum_wll = splat(_ZERO), splat(_ZERO)
    for i in range(at, at + 256, 16):
        value = load(x, i)
        level = clamped(rounded(inverse * value), np.float32(-top), np.float32(top - 1))
        store(levels, i, level)
        sum_wxl = sum_wxl + value * value * value * level
        sum_wll = sum_wll + value * value * level * level
    return sum_wxl, sum_wll, magnitude(extreme) < TOO_SMALL


@lane_function
def _move(x, levels, at, top, sum_wxl, sum_wll):
    """Move the one level of each lane at `at` if that is better: returns the sums, and where it moved."""
    value, level = load(x, at), load(levels, at)
    weight = value * value
    weighted = weight * value
    wxl = sum_wxl - weighted * level
    wll = sum_wll - weight * level * level
    # wxl may be a mere rounding residue, so the quotient can be anything: `nearest_int`, not `rounded`.
    new = to_floats(clamped(nearest_int(value * wll / wxl), -top, top - 1))
    possible = (wxl > _ZERO) & invert(new == level)
    wxl = wxl + weighted * new
    wll = wll + weight * new * new
    better = possible & (wll > _ZERO) & (wxl * wxl * sum_wll > sum_wxl * sum_wxl * wll)
    store(levels, at, select(better, new, level))
    return select(better, wxl, sum_wxl), select(better, wll, sum_wll), better


@lane_function
def _end(levels, at, top, sum_wxl, sum_wll, small):
    """The scale of each lane; where the block is too small, the levels become −top."""
    for i in range(at, at + 256, 16):
        store(levels, i, select(small, splat(np.float32(-top)), load(levels, i)))
    return select((sum_wll > _ZERO) & invert(small), sum_wxl / sum_wll, splat(_ZERO))


@lane_function
def codes_found(x, inverse, top):
    """Codes 0..2·top − 1, as Ints, that `search_qx` gave sixteen weights of one block; 0 where it was too small."""
    if inverse == _ZERO:
        return splat(0)
    return truncated(clamped(rounded(x * inverse), np.float32(-top), np.float32(top - 1))) + top


@lane_function
def codes_for_step(x, step, top):
    """Codes 0..2·top − 1, as Ints, of sixteen weights of one block for the step that a reader will see."""
    return clamped(nearest_int(x / step), -top, top - 1) + top


@lane_function
def extreme_of(scales):
    """The signed number of largest magnitude, the first where several tie; 0 where all are 0 or NaN."""
    extreme = _ZERO
    for scale in scales:
        if abs(scale) > abs(extreme):
            extreme = scale
    return extreme
