"""GLM-4 (0414) and GLM-4.5-Air: GGUF's `glm4`, `glm4moe`."""

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Outline,
    attention,
    attention_biases,
    experts,
    feed_forward,
    layer,
    shared_experts,
)
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, expert_numbers
from pennyweight.models.fields import Fields


def _read_dense(fields: Fields) -> Outline:
    return Outline(numbers=common_numbers(fields), features=common_features(fields), notes=common_notes(fields))


def _read_experts(fields: Fields) -> Outline:
    numbers = common_numbers(fields) | expert_numbers(fields)
    shared = fields.count("n_shared_experts", default=0, least=0)
    numbers |= {
        "leading_dense_block_count": fields.count("first_k_dense_replace", default=0, least=0),
        "expert_shared_count": shared,
    }
    features = common_features(fields) | ({"shared"} if shared else set())
    features |= {"head_norms"} if fields.flag("use_qk_norm") else set()
    return Outline(numbers=numbers, features=features, notes=common_notes(fields))


GLM4 = Architecture(
    name="glm4",
    class_names=("Glm4ForCausalLM",),
    read=_read_dense,
    tensors=(
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        *attention(),
        *attention_biases(where="attention_bias"),
        layer("post_attention_norm.weight", "hidden"),
        layer("ffn_norm.weight", "hidden"),
        layer("ffn_up.weight", "twice_feed_forward", "hidden"),
        layer("ffn_down.weight", "hidden", "feed_forward"),
        layer("post_ffw_norm.weight", "hidden"),
    ),
    source="llama.cpp src/models/glm4.cpp, conversion/glm.py",
)
GLM4_MOE = Architecture(
    name="glm4moe",
    class_names=("Glm4MoeForCausalLM",),
    read=_read_experts,
    tensors=(
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        *attention(),
        *attention_biases(where="attention_bias"),
        layer("attn_q_norm.weight", "head", where="head_norms"),
        layer("attn_k_norm.weight", "head", where="head_norms"),
        layer("post_attention_norm.weight", "hidden"),
        *feed_forward(where="dense"),
        *experts(),
        layer("exp_probs_b.bias", "experts", where="experts"),
        *shared_experts(),
    ),
    source="llama.cpp src/models/glm4-moe.cpp, conversion/glm.py",
)
