"""A config.json → an `Anatomy`: what its GGUF would hold, tensor by tensor, and what its blocks keep."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models import architectures
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.architectures.base import Architecture, Number, Outline
from pennyweight.models.dimensions import dimensions
from pennyweight.models.families import TensorRule
from pennyweight.models.fields import Fields
from pennyweight.models.keeping import blocks_of, words_of
from pennyweight.models.rope_words import scaling_in_words
from pennyweight.models.shape import Keys, ModelShape, shape_from_metadata
from pennyweight.models.tensors import PlannedTensor, kept_in_float32


def anatomy_from_config(
    config: Mapping[str, Any], *, name: str, repository: str = "", source: str = "config.json"
) -> Anatomy:
    """The anatomy of a parsed config.json.

    Raises:
        UnsupportedModel: an architecture whose tensors are not known here.
        FormatError: fields are missing (all of them are named) or are not the numbers they should be.
    """
    architecture, outline = outline_of(config, source)
    metadata = metadata_of(architecture, outline)
    shape, keys = shape_from_metadata(metadata), Keys(metadata)
    return Anatomy(
        name=name,
        repository=repository,
        source=source,
        known=True,
        shape=shape,
        tensors=tuple(_tensors(architecture, outline, shape, keys)),
        file_type=outline.file_type,
        blocks=blocks_of(shape, keys, architecture),
        notes=(*outline.notes, *_draft_notes(_draft(architecture, outline, shape, keys))),
        rope_scaling=scaling_in_words(config),
    )


def weights_and_type(config: Mapping[str, Any]) -> tuple[int, str | None]:
    """How many weights the model has, and the file type that it is published in (see `Anatomy.file_type`).

    Raises: as `anatomy_from_config`, which names and shapes every tensor; this counts blocks that are alike.
    """
    architecture, outline = outline_of(config)
    metadata = metadata_of(architecture, outline)
    shape, keys = shape_from_metadata(metadata), Keys(metadata)
    groups = _groups(architecture, outline, shape, keys)
    return sum(len(blocks) * sum(t.weights for t in tensors) for blocks, tensors in groups), outline.file_type


def draft_head(config: Mapping[str, Any]) -> tuple[PlannedTensor, ...]:
    """Tensors of the draft head (MTP) that a GGUF of the model may hold; empty where none is known of.

    Raises: as `anatomy_from_config`, which leaves them out: llama.cpp loads them only to draft with.
    """
    architecture, outline = outline_of(config)
    metadata = metadata_of(architecture, outline)
    return tuple(_draft(architecture, outline, shape_from_metadata(metadata), Keys(metadata)))


def outline_of(config: Mapping[str, Any], source: str = "config.json") -> tuple[Architecture, Outline]:
    """The architecture of a config and what it says, all fields checked. Raises: as `anatomy_from_config`."""
    fields = Fields(config, source)
    named = config.get("architectures")
    wanted = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    architecture = architectures.for_config(wanted, fields)
    if architecture is None or architecture.read is None:
        raise UnsupportedModel(f"{source}: architecture {wanted or 'unnamed'!r} is not one whose tensors are known")
    outline = architecture.read(fields)
    fields.require_complete()
    return architecture, outline


@dataclass(frozen=True, slots=True)
class Said:
    """A value that a GGUF of the model would have; a tuple where it is one for each block."""

    value: str | Number


def metadata_of(architecture: Architecture, outline: Outline) -> dict[str, Said]:
    """The keys that a GGUF of this model would have, as far as its shapes depend on them."""
    named = {"general.architecture": Said(architecture.name)}
    return named | {f"{architecture.name}.{key}": _said(number) for key, number in outline.numbers.items()}


def _said(number: Number) -> Said:
    if max(number if isinstance(number, tuple) else (number,)) >= 1 << 32:
        raise FormatError("config.json: its numbers multiply to more than a GGUF can say")
    return Said(tuple(map(int, number)) if isinstance(number, tuple) else int(number))


def _tensors(architecture: Architecture, outline: Outline, shape: ModelShape, keys: Keys) -> Iterator[PlannedTensor]:
    """Every tensor, those of no block first, then block by block."""
    outside, *inside = _groups(architecture, outline, shape, keys)
    yield from outside[1]
    tensors_of = {block: tensors for blocks, tensors in inside for block in blocks}
    for block in range(shape.block_count):
        for one in tensors_of[block]:
            yield PlannedTensor(name=one.name.replace("{block}", str(block)), shape=one.shape, format=one.format)


def _draft(architecture: Architecture, outline: Outline, shape: ModelShape, keys: Keys) -> Iterator[PlannedTensor]:
    """The blocks of the draft head, which attend, numbered after the others."""
    words = outline.features | {"attention", "experts" if shape.expert_count else "dense"}
    inside = (rule for rule in (*architecture.tensors, *architecture.draft) if "{block}" in rule.name)
    alike = list(_planned(inside, dimensions(shape, keys, 0), outline, words)) if architecture.draft else []
    for block in range(shape.block_count, shape.block_count + outline.draft_blocks):
        yield from (replace(one, name=one.name.replace("{block}", str(block))) for one in alike)


def _draft_notes(tensors: Iterable[PlannedTensor]) -> Iterator[str]:
    if weights := sum(tensor.weights for tensor in tensors):
        millions = f"{weights / 1e6:,.0f} million weights"
        yield f"a draft head (MTP) of {millions} is not counted; a GGUF may hold it, loaded only to draft with"


def _groups(
    architecture: Architecture, outline: Outline, shape: ModelShape, keys: Keys
) -> list[tuple[list[int], list[PlannedTensor]]]:
    """Blocks that are alike and their tensors, numbers of blocks left open; first those of no block, as one block."""
    outside = [rule for rule in architecture.tensors if "{block}" not in rule.name]
    inside = [rule for rule in architecture.tensors if "{block}" in rule.name]
    alike: dict[tuple[frozenset[str], tuple[int, int, int]], list[int]] = {}
    for block in range(shape.block_count):
        words = outline.features | words_of(shape, keys, architecture, block)
        sizes = (shape.head_counts[block], shape.head_counts_kv[block], shape.feed_forward_lengths[block])
        alike.setdefault((words, sizes), []).append(block)
    first = ([0], list(_planned(outside, dimensions(shape, keys, 0), outline, outline.features)))
    return [
        first,
        *(
            (blocks, list(_planned(inside, dimensions(shape, keys, blocks[0]), outline, words)))
            for (words, _), blocks in alike.items()
        ),
    ]


def _planned(
    rules: Iterable[TensorRule], sizes: Mapping[str, int], outline: Outline, words: frozenset[str]
) -> Iterator[PlannedTensor]:
    """The tensors that are there, the number of their block still open."""
    for rule in rules:
        if rule.where <= words and (rule.where or not rule.optional):  # optional without a condition: not planned
            yield _one(rule, sizes, outline)


def _one(rule: TensorRule, sizes: Mapping[str, int], outline: Outline) -> PlannedTensor:
    name, shape = rule.name, tuple(sizes[dimension] for dimension in rule.shape)
    if not all(shape):
        said = f"{name.format(block=0)} would have the shape {shape}"
        raise FormatError(f"config.json: {said}; some of its numbers do not fit together")
    kept = rule.float32 or kept_in_float32(name, shape)
    stored = outline.expert_format if "_exps." in name else outline.matrix_format
    return PlannedTensor(name=name, shape=shape, format="F32" if kept else stored)
