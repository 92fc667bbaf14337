"""Granite 4 hybrids: GGUF's `granitehybrid`. Mamba-2 in nine blocks of ten, attention in the tenth."""

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Hybrid,
    Outline,
    attention,
    experts,
    feed_forward,
    layer,
    mamba2,
    shared_experts,
)
from pennyweight.models.architectures.common import common_features, common_numbers, mamba_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    blocks, hidden = fields.blocks(), fields.count("hidden_size")
    kinds = fields.words("layer_types", blocks)
    if kinds is None:
        fields.lacks("layer_types")
        kinds = ("attention",) * blocks
    heads_kv = fields.count("num_key_value_heads")
    numbers = common_numbers(fields)
    numbers |= {"attention.head_count_kv": tuple(heads_kv if kind == "attention" else 0 for kind in kinds)}
    numbers |= mamba_numbers(fields, fields.count("mamba_expand") * hidden, fields.count("mamba_n_heads"))
    experts_count = fields.count("num_local_experts", default=0, least=0)
    shared = fields.count("shared_intermediate_size", default=0, least=0)
    if experts_count:
        numbers |= {
            "expert_count": experts_count,
            "expert_used_count": fields.count("num_experts_per_tok"),
            "expert_shared_feed_forward_length": shared,
        }
    else:  # what would be the shared expert is then the feed-forward
        numbers["feed_forward_length"] = shared
    features = common_features(fields) | ({"shared"} if experts_count and shared else set())
    return Outline(numbers=numbers, features=features)


GRANITE_HYBRID = Architecture(
    name="granitehybrid",
    class_names=("GraniteMoeHybridForCausalLM",),
    read=_read,
    tensors=(
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        *attention(where="attention"),
        *mamba2(),
        layer("ffn_norm.weight", "hidden"),
        *feed_forward(where="dense"),
        *experts(),
        *shared_experts(),
    ),
    hybrid=Hybrid.NO_KEYS,
    source="llama.cpp src/models/granite-hybrid.cpp, conversion/granite.py",
)
