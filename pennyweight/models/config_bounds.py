"""A config.json of an architecture that is not known → the least and the most that such a model can weigh and keep.

Names of tensors are llama.cpp's, so that file types give them the bytes that they give a model of a known one:

    most    a gate beside every attention and feed-forward, an output of its own, experts and a dense feed-forward in
            every block, a recurrent mixer besides where the config has a word of one; full attention in every block
    least   plain attention and two matrices in a feed-forward, experts only in the blocks that the config says have
            some; a cache only of what its words for windows, latents and recurrent layers leave

Every published model of the catalogue lies between, taken as if its architecture were not known: a test says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pennyweight.models.anatomy import Anatomy, Block, Keeps
from pennyweight.models.config_counts import Counts, read_counts
from pennyweight.models.fields import Fields
from pennyweight.models.rope_words import scaling_in_words
from pennyweight.models.shape import ModelShape
from pennyweight.models.tensors import PlannedTensor

MOST_STATE = 256
"""Numbers of state for each channel of a recurrent layer; published ones have 16 to 128."""


def anatomy_within_bounds(
    config: Mapping[str, Any], *, name: str, repository: str = "", source: str = "config.json", why: str
) -> Anatomy:
    """The largest model that the config can mean, with the smallest as its `least`; `known` is False in both.

    Args:
        why: the architecture is not known, in words.

    Raises: FormatError where the config lacks what even bounds need (all fields that it lacks are named).
    """
    fields = Fields(config, source)
    counts, silent = read_counts(config, fields)
    note = f"{why}; sizes, cache and speeds are bounds from the counts of {source}"
    if silent:
        note += f", which does not say {', '.join(silent)}"
    most = Anatomy(
        name=name,
        repository=repository,
        source=source,
        known=False,
        shape=_shape(counts, name),
        tensors=tuple(_tensors(counts, most=True)),
        file_type=None,
        blocks=most_kept(counts),
        notes=(note,),
        rope_scaling=scaling_in_words(config),
    )
    return replace(most, least=replace(most, tensors=tuple(_tensors(counts, most=False)), blocks=least_kept(counts)))


def _shape(counts: Counts, name: str) -> ModelShape:
    blocks = counts.blocks
    return ModelShape(
        architecture="unknown",
        name=name,
        block_count=blocks,
        context_length=counts.context,
        embedding_length=counts.hidden,
        feed_forward_lengths=(counts.dense[1],) * blocks,
        head_counts=(counts.heads,) * blocks,
        head_counts_kv=(counts.heads_kv,) * blocks,
        key_length=counts.key,
        value_length=counts.value,
        expert_count=counts.experts,
        expert_used_count=counts.used,
        expert_feed_forward_length=counts.expert,
        vocabulary_size=counts.vocabulary,
    )


def most_kept(counts: Counts) -> tuple[Block, ...]:
    """Full attention in every block, and a recurrent state where there may be one."""
    keeps = Block(
        keeps=Keeps.EVERY_TOKEN,
        key_width=counts.heads_kv * counts.key,
        value_width=counts.heads_kv * counts.value,
        state_numbers=counts.inner * MOST_STATE,
    )
    return (keeps,) * counts.blocks


def least_kept(counts: Counts) -> tuple[Block, ...]:
    """What windows, latents and recurrent layers leave of it, where the config has a word of them."""
    width = {"key_width": counts.heads_kv * counts.key, "value_width": counts.heads_kv * counts.value}
    full = Block(keeps=Keeps.EVERY_TOKEN, **width)
    if counts.latent:
        full = Block(keeps=Keeps.LATENT, key_width=counts.latent)
    other = full
    if counts.inner:
        other = Block(keeps=Keeps.NOTHING)
    elif counts.window:
        other = Block(keeps=Keeps.WINDOW, **width, window=counts.window)
    elif counts.full_blocks is not None:
        other = Block(keeps=Keeps.NOTHING)
    certain = counts.full_blocks or ()
    return tuple(full if number in certain else other for number in range(counts.blocks))


def _tensors(counts: Counts, *, most: bool) -> Iterator[PlannedTensor]:
    yield _matrix("token_embd.weight", counts.vocabulary, counts.hidden)
    if counts.tied is False or (most and counts.tied is None):
        yield _matrix("output.weight", counts.vocabulary, counts.hidden)
    for block in range(counts.blocks):
        yield from (_matrix(f"blk.{block}.{name}.weight", *shape) for name, *shape in _block(counts, block, most))
        if most:  # norms, biases, gates: vectors that are kept in F32
            yield PlannedTensor(name=f"blk.{block}.attn_norm.weight", shape=(16 * counts.hidden,), format="F32")


def _block(counts: Counts, block: int, most: bool) -> Iterator[tuple[Any, ...]]:
    """Name and shape of a block's matrices."""
    hidden, queries, keys = counts.hidden, counts.heads * counts.key, counts.heads_kv * counts.key
    values = counts.heads_kv * counts.value
    has_state, has_latent = counts.inner > 0, counts.latent > 0
    certain = not has_state or block in (counts.full_blocks or ())
    if most or (certain and not has_latent):
        yield "attn_q", queries, hidden
        yield "attn_k", keys, hidden
        yield "attn_v", values, hidden
    if most or certain:
        yield "attn_output", hidden, counts.heads * counts.value
    if most:
        yield "attn_gate", queries, hidden
        if has_latent:
            yield "attn_kv_a_mqa", counts.latent, hidden
        if has_state:
            yield "ssm_in", 4 * counts.inner, hidden
            yield "ssm_out", hidden, counts.inner
    yield from _feed_forward(counts, block, most)


def _feed_forward(counts: Counts, block: int, most: bool) -> Iterator[tuple[Any, ...]]:
    hidden, width = counts.hidden, counts.dense[most]
    has_experts = most or block in counts.expert_blocks
    if counts.experts and has_experts:
        yield "ffn_gate_inp", counts.experts, hidden
        yield "ffn_up_exps", counts.experts, counts.expert, hidden
        yield "ffn_down_exps", counts.experts, hidden, counts.expert
        if most:
            yield "ffn_gate_exps", counts.experts, counts.expert, hidden
        if counts.shared:
            yield "ffn_up_shexp", counts.shared, hidden
            yield "ffn_down_shexp", hidden, counts.shared
            if most:
                yield "ffn_gate_shexp", counts.shared, hidden
    if width and (most or block in counts.dense_blocks):
        yield "ffn_up", width, hidden
        yield "ffn_down", hidden, width
        if most:
            yield "ffn_gate", width, hidden


def _matrix(name: str, *shape: int) -> PlannedTensor:
    return PlannedTensor(name=name, shape=shape, format="F32" if "ffn_gate_inp" in name else "F16")
