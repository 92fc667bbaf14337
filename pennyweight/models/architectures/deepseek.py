"""DeepSeek V2-Lite, V2, V3 and R1: GGUF's `deepseek2`, with latent attention.

A token keeps 512 numbers for all heads and 64 that carry its position. llama.cpp stores the matrix that would unfold
them in two halves, one for keys and one for values, and multiplies queries by the first, so it never unfolds.
"""

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Outline,
    experts,
    feed_forward,
    layer,
    shared_experts,
)
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, expert_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    latent, rotary = fields.count("kv_lora_rank", default=512), fields.count("qk_rope_head_dim")
    query_rank = fields.count("q_lora_rank", default=0, least=0)
    shared = fields.count("n_shared_experts", default=0, least=0)
    numbers = common_numbers(fields) | expert_numbers(fields)
    numbers |= {
        "leading_dense_block_count": fields.count("first_k_dense_replace", default=0, least=0),
        "expert_shared_count": shared,
        # One key head for all query heads, the latent vector with its rotary part; values are the latent vector.
        "attention.head_count_kv": 1,
        "attention.key_length": latent + rotary,
        "attention.value_length": latent,
        "attention.key_length_mla": fields.count("qk_nope_head_dim") + rotary,
        "attention.value_length_mla": fields.count("v_head_dim"),
        "attention.kv_lora_rank": latent,
        "rope.dimension_count": rotary,
    }
    numbers |= {"attention.q_lora_rank": query_rank} if query_rank else {}
    features = {"low_rank_query" if query_rank else "full_query"} | ({"shared"} if shared else set())
    # V3 corrects its router's scores by a bias for each expert.
    features |= {"score_bias"} if fields.text("topk_method") == "noaux_tc" else set()
    return Outline(numbers=numbers, features=common_features(fields) | features, notes=common_notes(fields))


DEEPSEEK2 = Architecture(
    name="deepseek2",
    class_names=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
    read=_read,
    tensors=(
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        layer("attn_q.weight", "queries_mla", "hidden", where="full_query"),
        layer("attn_q_a.weight", "query_rank", "hidden", where="low_rank_query"),
        layer("attn_q_a_norm.weight", "query_rank", where="low_rank_query"),
        layer("attn_q_b.weight", "queries_mla", "query_rank", where="low_rank_query"),
        layer("attn_kv_a_mqa.weight", "head", "hidden"),
        layer("attn_kv_a_norm.weight", "latent"),
        layer("attn_k_b.weight", "heads", "latent", "unrotated"),
        layer("attn_v_b.weight", "heads", "value_mla", "latent"),
        layer("attn_output.weight", "hidden", "values_mla"),
        layer("ffn_norm.weight", "hidden"),
        *feed_forward(where="dense"),
        *experts(),
        layer("exp_probs_b.bias", "experts", where="experts score_bias"),
        *shared_experts(),
    ),
    source="llama.cpp src/models/deepseek2.cpp, conversion/deepseek.py",
)
