"""The number behind each name that a tensor table gives a dimension, from the GGUF keys of a model.

hidden              width of the residual stream          vocabulary, twice_hidden
queries             heads · key length                     keys, values        key-value heads · key or value length
heads, head         number of heads, length of one          half_head           rotary pairs of one head
fused_qkv           queries + keys + values                 gated_queries       queries and a gate for each
feed_forward        width of the dense feed-forward         twice_feed_forward  gate on top of up
expert, experts     width of one expert, how many           shared              width of the shared experts together
latent, query_rank  widths of latent attention              unrotated           length of a key without its position
queries_mla, value_mla, values_mla                          heads as they were before the latent vector
inner, state, convolution, groups, state_heads              a state space's channels, state, kernel, groups, heads
convolved, mamba_in, group_inner                            Mamba-2: channels of the convolution, of the first matrix
delta_channels, twice_state_heads                           gated delta rule: queries, keys and values together
"""

from pennyweight.models.shape import Keys, ModelShape


def dimensions(shape: ModelShape, keys: Keys, block: int) -> dict[str, int]:
    """Name → number, as they are in this block (0 for tensors of no block); 0 for what the model does not have."""
    heads, heads_kv = shape.head_counts[block], shape.head_counts_kv[block]
    queries, cached = heads * shape.key_length, heads_kv * shape.key_length
    wide = shape.feed_forward_lengths[block]
    expert = shape.expert_feed_forward_length or wide
    shared = keys.count("expert_shared_feed_forward_length", expert * keys.count("expert_shared_count", 0))
    return {
        "one": 1,
        "hidden": shape.embedding_length,
        "twice_hidden": 2 * shape.embedding_length,
        "vocabulary": shape.vocabulary_size,
        "heads": heads,
        "head": shape.key_length,
        "half_head": keys.count("rope.dimension_count", shape.key_length) // 2,
        "queries": queries,
        "gated_queries": 2 * queries,
        "keys": cached,
        "values": heads_kv * shape.value_length,
        "fused_qkv": queries + cached + heads_kv * shape.value_length,
        "feed_forward": wide,
        "twice_feed_forward": 2 * wide,
        "experts": shape.expert_count,
        "expert": expert,
        "shared": shared,
        **_latent(keys, heads),
        **_state_space(keys),
    }


def _latent(keys: Keys, heads: int) -> dict[str, int]:
    key, value = keys.count("attention.key_length_mla", 0), keys.count("attention.value_length_mla", 0)
    return {
        "latent": keys.count("attention.kv_lora_rank", 0),
        "query_rank": keys.count("attention.q_lora_rank", 0),
        "unrotated": key - keys.count("rope.dimension_count", 0) if key else 0,
        "queries_mla": heads * key,
        "value_mla": value,
        "values_mla": heads * value,
    }


def _state_space(keys: Keys) -> dict[str, int]:
    inner, state, groups = (keys.count(f"ssm.{key}", 0) for key in ("inner_size", "state_size", "group_count"))
    heads = keys.count("ssm.time_step_rank", 0)
    convolved = inner + 2 * groups * state
    return {
        "inner": inner,
        "state": state,
        "groups": groups,
        "state_heads": heads,
        "twice_state_heads": 2 * heads,
        "convolution": keys.count("ssm.conv_kernel", 0),
        "convolved": convolved,
        "mamba_in": inner + convolved + heads,
        "group_inner": inner // groups if groups else 0,
        "delta_channels": 2 * state * groups + state * heads,
    }
