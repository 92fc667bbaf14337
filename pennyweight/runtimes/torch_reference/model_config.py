"""GGUF metadata and tensor names → `ModelConfig`: `checkpoints.model_metadata` inverted, whoever wrote the file.

What GGUF leaves out defaults as in llama.cpp's `load_hparams`. Mistral is `llama` in GGUF, and the same function.
"""

import math
from collections.abc import Mapping
from typing import Any

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.containers.gguf import GGUFValue
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models import families
from pennyweight.models.config import MAX_EXPERTS, ModelConfig
from pennyweight.models.families import OUTPUT, Family
from pennyweight.models.rope import Rope
from pennyweight.models.shape import ModelShape, shape_from_metadata

_THETA = 10_000.0  # llama.cpp's default


def model_config(checkpoint: Checkpoint) -> ModelConfig:
    """The configuration of a checkpoint of one of `families.ALL`.

    Raises:
        UnsupportedModel: another architecture, or one whose blocks differ from each other.
        FormatError: a key is missing, or its value cannot be one.
    """
    shape = shape_from_metadata(checkpoint.metadata)
    family = _family(shape)
    _require_uniform(shape)
    keys = _Keys(checkpoint.metadata, shape.architecture)
    expert_width = _expert_width(family, shape)
    return ModelConfig(
        family=family,
        block_count=shape.block_count,
        context_length=shape.context_length,
        embedding_length=shape.embedding_length,
        feed_forward_length=shape.feed_forward_length or expert_width,
        head_count=shape.head_count,
        head_count_kv=shape.head_count_kv,
        head_length=shape.key_length,
        rms_norm_epsilon=keys.number("attention.layer_norm_rms_epsilon"),
        rope=_rope(keys, shape.context_length),
        vocabulary_size=shape.vocabulary_size,
        tied=OUTPUT not in {tensor.name for tensor in checkpoint.tensors},
        expert_count=shape.expert_count,
        expert_used_count=shape.expert_used_count,
        expert_feed_forward_length=expert_width,
        special_ids=(),
    )


def _family(shape: ModelShape) -> Family:
    for family in families.ALL:
        if family.architecture == shape.architecture and (family.expert_width_key is None) == (not shape.expert_count):
            return family
    known = ", ".join(dict.fromkeys(family.architecture for family in families.ALL))
    raise UnsupportedModel(
        f"the torch engine has no architecture {shape.architecture!r} with {shape.expert_count} experts; known: {known}"
    )


def _expert_width(family: Family, shape: ModelShape) -> int:
    """Width of one expert, with llama.cpp's defaults: Mixtral's is the feed-forward's, Qwen's an even share of it."""
    if not shape.expert_count or family.expert_width_key == "intermediate_size":
        return shape.feed_forward_length if shape.expert_count else 0
    return shape.expert_feed_forward_length or shape.feed_forward_length // max(1, shape.expert_used_count)


def _require_uniform(shape: ModelShape) -> None:
    """Raises: UnsupportedModel, FormatError for shapes that transformers' classes cannot take."""
    for name in ("head_counts", "head_counts_kv", "feed_forward_lengths"):
        if len(set(getattr(shape, name))) > 1:
            raise UnsupportedModel(f"the torch engine wants the same {name} in every block, got {getattr(shape, name)}")
    if shape.key_length != shape.value_length:
        raise UnsupportedModel(f"keys of {shape.key_length} and values of {shape.value_length}; the same is wanted")
    counts = (shape.head_count, shape.head_count_kv, shape.key_length, shape.embedding_length, shape.vocabulary_size)
    if min(counts) < 1 or shape.head_count % shape.head_count_kv or shape.key_length % 2:
        raise FormatError(
            f"{shape.head_count} heads over {shape.head_count_kv} key-value heads of {shape.key_length}, width "
            f"{shape.embedding_length}, {shape.vocabulary_size} tokens; wanted whole groups of even heads"
        )
    if shape.expert_count and not 1 <= shape.expert_used_count <= shape.expert_count <= MAX_EXPERTS:
        raise FormatError(
            f"{shape.expert_used_count} of {shape.expert_count} experts per token; wanted at most {MAX_EXPERTS}"
        )


def _rope(keys: "_Keys", context_length: int) -> Rope:
    """Llama 3's stretching is not here: it is a tensor, `rope_freqs.weight`."""
    theta = keys.number("rope.freq_base", _THETA)
    rotated, head = keys.value("rope.dimension_count"), keys.value("attention.key_length")
    if None not in (rotated, head) and rotated != head:
        raise UnsupportedModel(f"{rotated} of {head} numbers of a head are rotated; the torch engine wants all")
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0))
    kind = keys.value("rope.scaling.type") or "linear"
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return Rope(theta=theta, kind="default")
    if kind not in ("linear", "yarn") or factor <= 0:
        raise UnsupportedModel(f"rope.scaling.type {kind!r} with factor {factor}; the torch engine has linear and yarn")
    if kind == "linear":
        return Rope(theta=theta, kind="linear", factor=factor)
    # llama.cpp multiplies YaRN's own factor of cosine and sine by this key; transformers wants the product.
    times = keys.number("rope.scaling.attn_factor", 1.0)
    return Rope(
        theta=theta,
        kind="yarn",
        factor=factor,
        original_context=int(keys.number("rope.scaling.original_context_length", context_length)),
        attention_factor=None if times == 1.0 else times * (1 + 0.1 * math.log(max(1.0, factor))),
    )


class _Keys:
    """Metadata of one architecture, checked as it is taken."""

    def __init__(self, metadata: Mapping[str, GGUFValue], architecture: str) -> None:
        self._metadata, self._architecture = metadata, architecture

    def value(self, key: str) -> Any:
        """The plain value, None where it is absent."""
        typed = self._metadata.get(f"{self._architecture}.{key}")
        return None if typed is None else typed.value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number of at least 0."""
        found = self.value(key)
        found = default if found is None else found
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
            raise FormatError(f"{self._architecture}.{key} is {found!r}; wanted a number of at least 0")
        return float(found)
