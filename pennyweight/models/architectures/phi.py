"""Phi-3, 3.5, 4 and Phi-3.5-MoE: GGUF's `phi3`, `phimoe`.

Queries, keys and values are one matrix, gate and up another. llama.cpp has their sliding window switched off, so every
block keeps every token whatever the config says.
"""

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Outline,
    attention,
    attention_biases,
    layer,
    tensor,
)
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, rope_kind
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    numbers = common_numbers(fields)
    options = fields.value("rope_parameters")
    partial = options.get("partial_rotary_factor") if isinstance(options, dict) else None
    partial = fields.value("partial_rotary_factor") if partial is None else partial
    share = partial if isinstance(partial, int | float) and 0 < partial <= 1 else 1.0
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    numbers["rope.dimension_count"] = int(share * hidden) // heads
    features = common_features(fields) | ({"longrope"} if rope_kind(fields) in ("longrope", "su") else set())
    return Outline(numbers=numbers, features=features, notes=common_notes(fields))


def _read_experts(fields: Fields) -> Outline:
    outline = _read(fields)
    counts = {
        "expert_count": fields.count("num_local_experts"),
        "expert_used_count": fields.count("num_experts_per_tok"),
    }
    return Outline(numbers={**outline.numbers, **counts}, features=outline.features)


_ROPE_FACTORS = (
    tensor("rope_factors_long.weight", "half_head", where="longrope"),
    tensor("rope_factors_short.weight", "half_head", where="longrope"),
)
_EXPERTS = (
    layer("ffn_gate_inp.weight", "experts", "hidden"),
    layer("ffn_gate_exps.weight", "experts", "feed_forward", "hidden"),
    layer("ffn_up_exps.weight", "experts", "feed_forward", "hidden"),
    layer("ffn_down_exps.weight", "experts", "hidden", "feed_forward"),
)

PHI3 = Architecture(
    name="phi3",
    class_names=("Phi3ForCausalLM",),
    read=_read,
    tensors=(
        *_ROPE_FACTORS,
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        layer("attn_qkv.weight", "fused_qkv", "hidden"),
        layer("attn_output.weight", "hidden", "queries"),
        layer("ffn_norm.weight", "hidden"),
        layer("ffn_up.weight", "twice_feed_forward", "hidden"),
        layer("ffn_down.weight", "hidden", "feed_forward"),
    ),
    source="llama.cpp src/models/phi3.cpp, conversion/phi.py",
)
PHI_MOE = Architecture(
    name="phimoe",
    class_names=("PhiMoEForCausalLM", "PhimoeForCausalLM"),
    read=_read_experts,
    tensors=(
        *_ROPE_FACTORS,
        *OUTER,
        tensor("output_norm.bias", "hidden"),
        tensor("output.bias", "vocabulary"),
        layer("attn_norm.weight", "hidden"),
        layer("attn_norm.bias", "hidden"),
        *attention(),
        *attention_biases(),
        layer("attn_output.bias", "hidden"),
        layer("ffn_norm.weight", "hidden"),
        layer("ffn_norm.bias", "hidden"),
        *_EXPERTS,
    ),
    source="llama.cpp src/models/phimoe.cpp, conversion/phi.py",
)
