"""An anatomy and its sized tensors → the plain bytes that memory and speed work with."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from math import prod
from typing import Protocol

from pennyweight.formats.sizes import row_bytes
from pennyweight.models.anatomy import Anatomy, Keeps
from pennyweight.planner.compute_buffer import GraphShape
from pennyweight.planner.footprint import BlockBytes, Family, Footprint, family_of, shares_of
from pennyweight.planner.request import Settings

STATE_BYTES = 4
"""Recurrent states are float32."""

LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight")
"""Tensors of which a token reads one row; llama.cpp leaves them in host memory, whatever -ngl says."""


NORMS_AFTER, EXPERT_BIASES = 0.7, 0.7
"""What a block costs more than a dense one, in dense ones, for norms before and after each half (Gemma: 13 runs on four
devices, left out in turn 14.0 → 2.8 % off), and for biases of experts (gpt-oss on five cards of NVIDIA: 17.1 → 7.8 %).
Fitted as medians; Apple's Metal shows neither (`card_classes`)."""

DRAFT = ".nextn."
"""Part of the name of a draft head's tensors; its block is in the file, and llama.cpp leaves it there unless it is to
draft (b11549 src/llama-model.cpp `nextn_flags`, `load_mtp` of `llama_model_default_params`)."""


class Sized(Protocol):
    """A tensor with its bytes, as `sizes.sized_tensors` makes them; `block` is -1 for a tensor of none."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def format(self) -> str: ...
    @property
    def block(self) -> int: ...
    @property
    def nbytes(self) -> int: ...


class Kept(Protocol):
    """Bytes that one block keeps, as `kv.kv_by_block` counts them."""

    @property
    def total(self) -> int: ...


def weigh(anatomy: Anatomy, tensors: Iterable[Sized], kept: Sequence[Kept], settings: Settings) -> Footprint:
    """The footprint of a model in a file type (`tensors`) under a setting of the cache (`kept`).

    Raises: UnknownName for a cache type that is no format.
    """
    return with_cache(weigh_weights(anatomy, tensors), anatomy, kept, settings)


def weigh_weights(anatomy: Anatomy, tensors: Iterable[Sized]) -> Footprint:
    """The footprint of the weights alone: what every setting of the cache has in common."""
    listed = list(tensors)
    used = _used_share(anatomy)
    embedding = sum(t.nbytes for t in listed if t.name in LOOKED_UP)
    tied = not any(t.name == "output.weight" for t in listed)
    loose = [t for t in listed if t.block < 0 and (t.name not in LOOKED_UP or (tied and t.name == LOOKED_UP[0]))]
    inner = [t for t in listed if t.block >= 0]
    by_block = {number: list(group) for number, group in groupby(sorted(inner, key=_place), key=_place)}
    idle = {t.block for t in inner if DRAFT in t.name}
    run = [t for t in [*inner, *loose] if t.block not in idle]
    read = [(family_of(t.format), t.nbytes * (used if _expert(t) else 1)) for t in run]
    return Footprint(
        blocks=tuple(
            replace(_block(by_block.get(i, []), used), latent=block.keeps is Keeps.LATENT)
            if i not in idle
            else BlockBytes(weights=0, idle=True)
            for i, block in enumerate(anatomy.blocks)
        ),
        embedding=embedding,
        output=sum(t.nbytes for t in loose),
        tied=tied,
        shares=shares_of(read) or ((Family.F16, 1.0),),
        expert_count=anatomy.shape.expert_count,
        expert_used=anatomy.shape.expert_used_count,
        parameters_used=sum(prod(t.shape) * (used if _expert(t) else 1) for t in run),
        parameters_routed=sum(prod(t.shape) * used for t in run if _expert(t)),
        parameters_output=sum(prod(t.shape) for t in loose),
        largest_matrix=max((t.nbytes for t in inner if t.block not in idle), default=0),
        attention_numbers=_attention_numbers(anatomy),
    )


def with_cache(weights: Footprint, anatomy: Anatomy, kept: Sequence[Kept], settings: Settings) -> Footprint:
    """Weights, and what each block keeps and reads of what came before. Raises: as `weigh`."""
    blocks = tuple(
        replace(
            block,
            cache=stored.total,
            cache_read=_row(settings.key_type, keeps.key_width) + _row(settings.value_type, keeps.value_width),
            window=keeps.window if keeps.keeps is Keeps.WINDOW else 0,
            state=keeps.state_numbers * STATE_BYTES,
        )
        for block, keeps, stored in zip(weights.blocks, anatomy.blocks, kept, strict=True)
    )
    return replace(weights, blocks=blocks, cache_family=family_of(settings.key_type))


def graph_shape(anatomy: Anatomy, footprint: Footprint) -> GraphShape:
    """What of the model decides its compute buffer."""
    shape = anatomy.shape
    return GraphShape(
        vocabulary=shape.vocabulary_size,
        width=shape.embedding_length,
        feed_forward=max(shape.feed_forward_lengths, default=0),
        heads=max(shape.head_counts, default=0),
        kv_heads=max(shape.head_counts_kv, default=0),
        head_length=shape.key_length,
        expert_used=shape.expert_used_count,
        expert_feed_forward=shape.expert_feed_forward_length,
        largest_matrix=footprint.largest_matrix,
    )


def _block(tensors: list[Sized], used: float) -> BlockBytes:
    experts = sum(t.nbytes for t in tensors if _expert(t))
    names = [t.name for t in tensors]
    return BlockBytes(
        weights=sum(t.nbytes for t in tensors) - experts,
        experts=experts,
        experts_read=experts * used,
        small_kernels=_small_kernels(names),
        recurrent=all(any(part in name for name in names) for part in (".ssm_", ".ffn_")),
    )


def _small_kernels(names: Sequence[str]) -> float:
    has_norms = all(
        any(name.endswith(part) for name in names) for part in (".ffn_norm.weight", ".post_ffw_norm.weight")
    )
    has_biases = any(name.endswith("_exps.bias") for name in names)
    return NORMS_AFTER * has_norms + EXPERT_BIASES * has_biases


def _row(cache_type: str, width: int) -> int:
    return row_bytes(cache_type, width) if width else 0


def _place(tensor: Sized) -> int:
    return tensor.block


def _expert(tensor: Sized) -> bool:
    return "_exps." in tensor.name


def _used_share(anatomy: Anatomy) -> float:
    count = anatomy.shape.expert_count
    return anatomy.shape.expert_used_count / count if count else 1.0


def _attention_numbers(anatomy: Anatomy) -> int:
    """Queries of the blocks whose work grows with the prompt; the others look back no further than their window."""
    heads, length = anatomy.shape.head_counts, anatomy.shape.key_length
    growing = (Keeps.EVERY_TOKEN, Keeps.LATENT)
    return sum(heads[i] * length for i, block in enumerate(anatomy.blocks) if block.keeps in growing)
