"""Footprints and graphs for tests: a plain model of equal blocks, and published ones from their published numbers."""

from pennyweight.planner.compute_buffer import GraphShape
from pennyweight.planner.footprint import BlockBytes, Family, Footprint, single_family

LLAMA_2_7B = GraphShape(
    vocabulary=32_000, width=4096, feed_forward=11_008, heads=32, kv_heads=32, head_length=128, largest_matrix=1 << 26
)
LLAMA_3_8B = GraphShape(
    vocabulary=128_256, width=4096, feed_forward=14_336, heads=32, kv_heads=8, head_length=128, largest_matrix=1 << 26
)
QWEN3_30B_A3B = GraphShape(
    vocabulary=151_936,
    width=2048,
    feed_forward=0,
    heads=32,
    kv_heads=4,
    head_length=128,
    expert_used=8,
    expert_feed_forward=768,
    largest_matrix=128 * 768 * 2048 * 2,
)


def plain(
    *,
    blocks: int = 32,
    block: int = 100 << 20,
    experts: int = 0,
    output: int = 200 << 20,
    cache: int = 16 << 20,
    cache_read: float = 4096.0,
    family: Family = Family.K,
) -> Footprint:
    """Equal blocks; with `experts` bytes of experts, an eighth of which a token reads."""
    one = BlockBytes(weights=block, experts=experts, experts_read=experts / 8, cache=cache, cache_read=cache_read)
    return Footprint(
        blocks=(one,) * blocks,
        embedding=output,
        output=output,
        shares=single_family(family),
        expert_count=64 if experts else 0,
        expert_used=8 if experts else 0,
        parameters_used=(block + experts / 8) * blocks * 2,
        largest_matrix=block // 4,
        attention_numbers=4096 * blocks,
    )
