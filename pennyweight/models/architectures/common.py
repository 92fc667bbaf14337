"""The fields that configs of most architectures share → GGUF keys, features and notes."""

from pennyweight.models.architectures.base import Number
from pennyweight.models.fields import Fields


def common_numbers(fields: Fields, *width: str) -> dict[str, Number]:
    """The counts that nearly every config.json has under the same names; `width` where a feed-forward's is another."""
    hidden = fields.count("hidden_size")
    heads = fields.count("num_attention_heads")
    head = fields.count("head_dim", default=max(1, hidden // heads))
    return {
        "block_count": fields.blocks(),
        "context_length": fields.count("max_position_embeddings"),
        "embedding_length": hidden,
        "feed_forward_length": fields.count(*width or ("intermediate_size",)),
        "attention.head_count": heads,
        "attention.head_count_kv": fields.count("num_key_value_heads", default=heads),
        "attention.key_length": head,
        "attention.value_length": head,
        "vocab_size": fields.count("vocab_size"),
    }


def expert_numbers(fields: Fields, width: str = "moe_intermediate_size") -> dict[str, Number]:
    """Experts, under the several names that configs have for them; `width` is the field with an expert's width."""
    experts = fields.count("num_experts", "num_local_experts", "n_routed_experts")
    used = fields.count("num_experts_per_tok", "experts_per_token")
    fields.require(used <= experts, f"{used} of {experts} experts per token; no more can be used than there are")
    return {
        "expert_count": experts,
        "expert_used_count": used,
        "expert_feed_forward_length": fields.count(width),
    }


def common_features(fields: Fields, tied: bool = False) -> frozenset[str]:
    """`untied` unless the output is the token embedding (`tied`: what silence means), and biases that are asked for."""
    asked = {word for word in ("attention_bias", "mlp_bias") if fields.flag(word)}
    return frozenset(asked if fields.flag("tie_word_embeddings", tied) else asked | {"untied"})


def common_notes(fields: Fields) -> tuple[str, ...]:
    """What is in other files, or not counted."""
    notes = []
    if fields.value("vision_config") is not None:
        notes.append("the vision projector is a file of its own (mmproj) and is not counted")
    if draft := fields.count("num_nextn_predict_layers", default=0, least=0):
        blocks = "block" if draft == 1 else "blocks"
        notes.append(f"a draft head (MTP) of {draft} {blocks} is not counted; a GGUF may hold it")
    return tuple(notes)


def rope_kind(fields: Fields) -> str:
    """The kind of rope scaling: `llama3`, `yarn`, `longrope` …; empty for none."""
    options = fields.value("rope_parameters", "rope_scaling")
    kind = options.get("rope_type", options.get("type")) if isinstance(options, dict) else None
    return kind if isinstance(kind, str) and kind != "default" else ""


def mamba_numbers(fields: Fields, inner: int, heads: int) -> dict[str, Number]:
    """A Mamba-2 mixer, its options under one of two prefixes."""
    return {
        "ssm.conv_kernel": fields.count("mamba_d_conv", "conv_kernel"),
        "ssm.state_size": fields.count("mamba_d_state", "ssm_state_size"),
        "ssm.group_count": fields.count("mamba_n_groups", "n_groups"),
        "ssm.inner_size": inner,
        "ssm.time_step_rank": heads,
    }
