"""Qwen3.5's dense models, whose config.json is not read here: three blocks of four mix by a gated delta rule.

Sizes by the published shapes; their sums are the published counts of weights (0.76, 1.89, 4.21, 8.96 and 26.9 billion,
ggml-org/Llama-macOS pull request 63). Bytes by Q4_K_M's rule: Q4_K, but the fused projection Q5_K, half of the values
and of `ffn_down`, and the output, Q6_K.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pennyweight.planner.footprint import BlockBytes, Family, Footprint, shares_of

VOCABULARY, HEAD, STATE, KEY_HEADS, CONVOLUTION = 248_320, 256, 128, 16, 4

Q4_K, Q5_K, Q6_K = 4.5 / 8, 5.5 / 8, 6.5625 / 8
"""Bytes a weight."""

HALF = (Q4_K + Q6_K) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What differs between the models."""

    width: int
    feed_forward: int
    blocks: int
    heads: int
    kv_heads: int
    value_heads: int
    tied: bool = True


SHAPES = {
    "Qwen3.5-0.8B": Shape(width=1024, feed_forward=3584, blocks=24, heads=8, kv_heads=2, value_heads=16),
    "Qwen3.5-2B": Shape(width=2048, feed_forward=6144, blocks=24, heads=8, kv_heads=2, value_heads=16),
    "Qwen3.5-4B": Shape(width=2560, feed_forward=9216, blocks=32, heads=16, kv_heads=4, value_heads=32),
    "Qwen3.5-9B": Shape(width=4096, feed_forward=12_288, blocks=32, heads=16, kv_heads=4, value_heads=32, tied=False),
    "Qwen3.5-27B": Shape(width=5120, feed_forward=17_408, blocks=64, heads=24, kv_heads=4, value_heads=48, tied=False),
}


def weights_of(shape: Shape) -> int:
    """How many, without norms and the draft head."""
    blocks = sum(sum(n for n, _ in _block(shape, number)) for number in range(shape.blocks))
    return blocks + VOCABULARY * shape.width * (1 if shape.tied else 2)


def hybrid(model: str) -> Footprint:
    """A Q4_K_M of Qwen3.5."""
    shape = SHAPES[model]
    output = int(VOCABULARY * shape.width * Q6_K)
    blocks = tuple(_bytes(shape, number) for number in range(shape.blocks))
    return Footprint(
        blocks=blocks,
        embedding=output if shape.tied else int(VOCABULARY * shape.width * Q4_K),
        output=output,
        tied=shape.tied,
        shares=shares_of([(Family.K, 1.0)]),
        parameters_used=weights_of(shape),
        parameters_output=VOCABULARY * shape.width,
    )


def _recurrent(number: int) -> bool:
    return number % 4 != 3


def _bytes(shape: Shape, number: int) -> BlockBytes:
    weights = int(sum(n * each for n, each in _block(shape, number)))
    if not _recurrent(number):
        return BlockBytes(weights=weights, cache_read=2 * 2 * shape.kv_heads * HEAD)
    inner, groups = shape.value_heads * STATE, KEY_HEADS * STATE
    state = 4 * ((CONVOLUTION - 1) * (inner + 2 * groups) + STATE * inner)
    return BlockBytes(weights=weights, state=state, recurrent=True)


def _block(shape: Shape, number: int) -> Iterator[tuple[int, float]]:
    """(Weights, bytes of one) of a block's matrices."""
    yield 2 * shape.width * shape.feed_forward, Q4_K
    yield shape.width * shape.feed_forward, HALF
    if _recurrent(number):
        inner = shape.value_heads * STATE
        yield shape.width * (inner + 2 * KEY_HEADS * STATE), Q5_K
        yield 2 * shape.width * inner, Q4_K
        yield 2 * shape.width * shape.value_heads, Q4_K
    else:
        yield 3 * shape.width * shape.heads * HEAD, Q4_K  # queries with a gate each, and the output
        yield shape.width * shape.kv_heads * HEAD, Q4_K
        yield shape.width * shape.kv_heads * HEAD, HALF
