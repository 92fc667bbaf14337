"""A config.json, whatever its architecture → the counts that decide sizes, under the names that published ones have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.models.fields import Fields

LEAST_FEED_FORWARD, MOST_FEED_FORWARD = 2, 8
"""Widths of a feed-forward, in widths of the model, where a config does not say it; published ones have 2.7 to 5.4."""

STATE_WORDS = ("mamba", "ssm", "rwkv", "linear_num", "linear_key", "lru", "conv_kernel", "state_size", "d_conv")
"""Starts of a config's names that speak of recurrent layers."""

EXPERT_STEPS = ("decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step", "moe_layer_interval")
"""Names under which a config says that every so-many-th block has experts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the config says, 0 where it says nothing.

    Attributes:
        hidden, blocks, vocabulary, context: of the model. heads, heads_kv, key, value: of attention.
        dense: width of a dense feed-forward, least and most.
        experts, used, expert, shared: how many, of them used, width of one, of the shared ones together.
        expert_blocks, dense_blocks: which blocks have experts, or a dense feed-forward, for certain.
        latent: numbers of a token in a latent cache. inner: channels of a recurrent layer at most.
        window: tokens. full_blocks: blocks that attend to everything for certain; None where the config has no list.
        tied: whether the output is the embedding; None where the config does not say.
    """

    hidden: int
    blocks: int
    vocabulary: int
    context: int
    heads: int
    heads_kv: int
    key: int
    value: int
    dense: tuple[int, int]
    experts: int
    used: int
    expert: int
    shared: int
    expert_blocks: tuple[int, ...]
    dense_blocks: tuple[int, ...]
    latent: int
    inner: int
    window: int
    full_blocks: tuple[int, ...] | None
    tied: bool | None


def read_counts(config: Mapping[str, Any], fields: Fields) -> tuple[Counts, list[str]]:
    """The counts, and the names of what the config does not say and is bounded otherwise. Raises: FormatError."""
    hidden = fields.count("hidden_size", "d_model", "n_embd", "dim")
    blocks = fields.blocks()
    heads = fields.count("num_attention_heads", "n_head", "n_heads")
    vocabulary = fields.count("vocab_size", "n_vocab", "padded_vocab_size")
    experts = fields.count("num_local_experts", "num_experts", "n_routed_experts", default=0, least=0)
    wide = fields.count("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", default=0, least=0)
    fields.require_complete()
    expert = fields.count("moe_intermediate_size", "expert_intermediate_size", default=wide, least=0)
    rotary = fields.count("qk_rope_head_dim", default=0, least=0)
    head = fields.count("head_dim", default=max(1, hidden // heads))
    latent = fields.count("kv_lora_rank", default=0, least=0)
    key = fields.count("qk_nope_head_dim", default=head - rotary, least=0) + rotary if latent else head
    shared = fields.count("n_shared_experts", "num_shared_experts", default=0, least=0) * expert
    context = fields.count("max_position_embeddings", "n_positions", "seq_length", default=0, least=0)
    tied = fields.value("tie_word_embeddings")
    counts = Counts(
        hidden=hidden,
        blocks=blocks,
        vocabulary=vocabulary,
        context=context,
        heads=heads,
        heads_kv=heads if latent else fields.count("num_key_value_heads", "n_kv_heads", default=heads),
        key=key,
        value=fields.count("v_head_dim", default=head) if latent else head,
        dense=(wide, wide) if wide or experts else (LEAST_FEED_FORWARD * hidden, MOST_FEED_FORWARD * hidden),
        experts=experts,
        used=min(fields.count("num_experts_per_tok", "moe_topk", default=1, least=0), experts),
        expert=expert if experts else 0,
        shared=fields.count("shared_expert_intermediate_size", "shared_intermediate_size", default=shared, least=0),
        expert_blocks=_expert_blocks(fields, blocks) if experts else (),
        dense_blocks=() if experts else _lettered(fields, blocks, "-") or tuple(range(blocks)),
        latent=latent + rotary if latent else 0,
        inner=_inner(config, fields, hidden),
        window=fields.count("sliding_window", "attention_window_size", default=0, least=0),
        full_blocks=_full_blocks(fields, blocks),
        tied=tied if isinstance(tied, bool) else None,
    )
    said = (("intermediate_size", wide or experts), ("max_position_embeddings", context))
    silent = [field for field, value in said if not value]
    return counts, silent + (["tie_word_embeddings"] if counts.tied is None else [])


def _expert_blocks(fields: Fields, blocks: int) -> tuple[int, ...]:
    """Blocks that have experts for certain, by the names that leave some dense."""
    if (lettered := _lettered(fields, blocks, "E")) is not None:
        return lettered
    first = fields.count("first_k_dense_replace", "num_dense_layers", default=0, least=0)
    steps = [found for name in EXPERT_STEPS if isinstance(found := fields.value(name), int) and found > 1]
    dense = fields.value("mlp_only_layers")
    listed = set(dense) if isinstance(dense, list) and all(isinstance(one, int) for one in dense) else set()
    kept = range(first, blocks)
    return tuple(n for n in kept if n not in listed and all((n + 1) % step == 0 for step in steps))


def _lettered(fields: Fields, blocks: int, letter: str) -> tuple[int, ...] | None:
    """Blocks of one letter in a pattern such as Nemotron's `MEM*E`, each of which has that and nothing else."""
    pattern = fields.value("hybrid_override_pattern")
    if not isinstance(pattern, str) or len(pattern) != blocks:
        return None
    return tuple(number for number, found in enumerate(pattern) if found == letter)


def _inner(config: Mapping[str, Any], fields: Fields, hidden: int) -> int:
    """Channels of a recurrent layer at most; 0 where no name of the config speaks of one."""
    inner = config.get("text_config")
    names = [*config, *(inner if isinstance(inner, dict) else ())]
    if not any(name.startswith(STATE_WORDS) for name in names):
        return 0
    heads = fields.count("mamba_num_heads", "mamba_n_heads", "linear_num_value_heads", default=0, least=0)
    length = fields.count("mamba_head_dim", "mamba_d_head", "linear_value_head_dim", default=0, least=0)
    return max(2 * hidden, heads * length, fields.count("mamba_d_ssm", "intermediate_size", default=0, least=0))


def _full_blocks(fields: Fields, blocks: int) -> tuple[int, ...] | None:
    """Blocks that a list of words says attend to everything; None without a list of one word for each block."""
    if (lettered := _lettered(fields, blocks, "*")) is not None:
        return lettered
    words = fields.value("layer_types", "layers_block_type")
    if not isinstance(words, list) or len(words) != blocks:
        return None
    return tuple(n for n, word in enumerate(words) if word in ("full_attention", "attention"))
