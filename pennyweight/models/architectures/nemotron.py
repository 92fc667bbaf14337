"""Nemotron-H and Nemotron 3 Nano: GGUF's `nemotron_h`, `nemotron_h_moe`.

A block is Mamba-2, attention or feed-forward, never two. Which is which is one letter for each: `M`, `*`, and `-`
(dense) or `E` (experts). The feed-forwards have no gate.
"""

from pennyweight.models.architectures.base import OUTER, Architecture, Hybrid, Number, Outline, attention, layer, mamba2
from pennyweight.models.architectures.common import common_features, common_numbers, mamba_numbers
from pennyweight.models.fields import Fields


def _numbers(fields: Fields, feed_forward: str, width: int) -> dict[str, Number]:
    pattern, heads_kv = fields.text("hybrid_override_pattern"), fields.count("num_key_value_heads")
    if not pattern:
        fields.lacks("hybrid_override_pattern")
    heads = fields.count("mamba_num_heads")
    head = fields.count("head_dim", "attention_head_dim")
    numbers = common_numbers(fields) | mamba_numbers(fields, heads * fields.count("mamba_head_dim"), heads)
    fields.require(
        len(pattern) == fields.count("num_hidden_layers", default=len(pattern)),
        f"hybrid_override_pattern has {len(pattern)} letters, num_hidden_layers says another number",
    )
    return numbers | {
        "block_count": max(1, len(pattern)),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.head_count_kv": tuple(heads_kv if letter == "*" else 0 for letter in pattern),
        "feed_forward_length": tuple(width if letter == feed_forward else 0 for letter in pattern),
    }


def _read_dense(fields: Fields) -> Outline:
    numbers = _numbers(fields, "-", fields.count("intermediate_size"))
    return Outline(numbers=numbers, features=common_features(fields))


def _read_experts(fields: Fields) -> Outline:
    width = fields.count("moe_intermediate_size")
    numbers = _numbers(fields, "E", width)
    numbers |= {
        "expert_count": fields.count("n_routed_experts"),
        "expert_used_count": fields.count("num_experts_per_tok"),
        "expert_feed_forward_length": width,
        "expert_shared_feed_forward_length": fields.count("moe_shared_expert_intermediate_size"),
    }
    return Outline(numbers=numbers, features=common_features(fields))


_MIXERS = (
    *OUTER,
    layer("attn_norm.weight", "hidden"),
    *attention(where="attention"),
    *mamba2(),
)
NEMOTRON_H = Architecture(
    name="nemotron_h",
    class_names=("NemotronHForCausalLM",),
    read=_read_dense,
    tensors=(
        *_MIXERS,
        layer("ffn_up.weight", "feed_forward", "hidden", where="dense"),
        layer("ffn_down.weight", "hidden", "feed_forward", where="dense"),
    ),
    hybrid=Hybrid.NO_KEYS_NO_FEED_FORWARD,
    source="llama.cpp src/models/nemotron-h.cpp, conversion/nemotron.py",
)
NEMOTRON_H_MOE = Architecture(
    name="nemotron_h_moe",
    class_names=("NemotronHForCausalLM",),
    read=_read_experts,
    tensors=(
        *_MIXERS,
        layer("ffn_gate_inp.weight", "experts", "hidden", where="experts"),
        layer("exp_probs_b.bias", "experts", where="experts"),
        layer("ffn_up_exps.weight", "experts", "expert", "hidden", where="experts"),
        layer("ffn_down_exps.weight", "experts", "hidden", "expert", where="experts"),
        layer("ffn_up_shexp.weight", "shared", "hidden", where="experts"),
        layer("ffn_down_shexp.weight", "hidden", "shared", where="experts"),
    ),
    hybrid=Hybrid.NO_KEYS_NO_FEED_FORWARD,
    source="llama.cpp src/models/nemotron-h-moe.cpp, conversion/nemotron.py",
)
