"""The number behind each name that a tensor table gives a dimension, from the GGUF keys of a model.

hidden              width of the residual stream          vocabulary
queries             heads · key length                     keys, values      key-value heads · key or value length
heads, head         number of heads, length of one          half_head         rotary pairs of one head
feed_forward        width of the dense feed-forward         expert, experts   width of one expert, how many
"""

from pennyweight.models.shape import Keys, ModelShape


def dimensions(shape: ModelShape, keys: Keys, block: int) -> dict[str, int]:
    """Name → number, as they are in this block (0 for tensors of no block)."""
    heads, heads_kv = shape.head_counts[block], shape.head_counts_kv[block]
    rotary = keys.count("rope.dimension_count", shape.key_length)
    return {
        "hidden": shape.embedding_length,
        "vocabulary": shape.vocabulary_size,
        "heads": heads,
        "head": shape.key_length,
        "half_head": rotary // 2,
        "queries": heads * shape.key_length,
        "keys": heads_kv * shape.key_length,
        "values": heads_kv * shape.value_length,
        "feed_forward": shape.feed_forward_lengths[block],
        "experts": shape.expert_count,
        "expert": shape.expert_feed_forward_length or shape.feed_forward_lengths[block],
    }
