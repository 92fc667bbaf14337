"""A checked config → GGUF's `general.*` and architecture keys, in the order and types of llama.cpp's converter.

Source: llama.cpp conversion/base.py `set_gguf_parameters`, conversion/llama.py; gguf-py constants.py.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.core.errors import FormatError
from pennyweight.models.config import ModelConfig
from pennyweight.models.rope import Rope

FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # llama.cpp's llama_ftype of an unquantized file
QUANTIZATION_VERSION = 2


_SAMPLING = (
    ("top_k", "general.sampling.top_k", ValueType.INT32),
    ("top_p", "general.sampling.top_p", ValueType.FLOAT32),
    ("min_p", "general.sampling.min_p", ValueType.FLOAT32),
    ("temperature", "general.sampling.temp", ValueType.FLOAT32),
    ("repetition_penalty", "general.sampling.penalty_repeat", ValueType.FLOAT32),
)
"""generation_config.json's words for what llama.cpp samples with where nobody says otherwise."""


def model_metadata(
    config: ModelConfig, generation: Mapping[str, Any], name: str, stored_format: str
) -> list[tuple[str, GGUFValue]]:
    """Keys that say what the model is.

    Args:
        generation: generation_config.json, empty where there is none.
        name: what to call it.
        stored_format: F32, F16 or BF16, of the matrices; quantizing replaces the file type in its place.

    Raises: FormatError where a sampling setting is no number.
    """
    prefix = config.family.architecture
    keys = [
        ("general.architecture", _string(prefix)),
        ("general.type", _string("model")),
        *_sampling(generation),
        ("general.name", _string(name)),
        *((f"{prefix}.{key}", value) for key, value in _counts(config)),
        ("general.file_type", _u32(FILE_TYPES[stored_format])),
    ]
    if prefix == "llama":
        keys.append((f"{prefix}.vocab_size", _u32(config.vocabulary_size)))
        keys.append((f"{prefix}.rope.dimension_count", _u32(config.head_length)))
    elif config.expert_count:
        keys.append((f"{prefix}.expert_feed_forward_length", _u32(config.expert_feed_forward_length)))
    return [*keys, ("general.quantization_version", _u32(QUANTIZATION_VERSION))]


def _sampling(generation: Mapping[str, Any]) -> Iterator[tuple[str, GGUFValue]]:
    for word, key, kind in _SAMPLING:
        value = generation.get(word)
        if value is None:
            continue
        whole = kind is ValueType.INT32
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not abs(value) < 1 << 31:
            raise FormatError(
                f"generation_config.json: {word} is {value!r}; wanted a {'whole ' if whole else ''}number"
            )
        yield key, GGUFValue.scalar(kind, value)


def _counts(config: ModelConfig) -> Iterator[tuple[str, GGUFValue]]:
    yield "block_count", _u32(config.block_count)
    yield "context_length", _u32(config.context_length)
    yield "embedding_length", _u32(config.embedding_length)
    yield "feed_forward_length", _u32(config.feed_forward_length)
    yield "attention.head_count", _u32(config.head_count)
    yield "attention.head_count_kv", _u32(config.head_count_kv)
    yield from _rope_scaling(config.rope)
    yield "rope.freq_base", _f32(config.rope.theta)
    yield "attention.layer_norm_rms_epsilon", _f32(config.rms_norm_epsilon)
    if config.expert_count:
        yield "expert_count", _u32(config.expert_count)
        yield "expert_used_count", _u32(config.expert_used_count)
    # The converter leaves these two out where config.json has no head_dim; llama.cpp then takes the same number.
    yield "attention.key_length", _u32(config.head_length)
    yield "attention.value_length", _u32(config.head_length)


def _rope_scaling(rope: Rope) -> Iterator[tuple[str, GGUFValue]]:
    """Only what is scaled by metadata: Llama 3's is a tensor, and dynamic NTK is none within the trained context."""
    if rope.kind not in ("linear", "yarn") or rope.factor is None:
        return
    yield "rope.scaling.type", _string(rope.kind)
    yield "rope.scaling.factor", _f32(rope.factor)
    if rope.original_context is not None:
        yield "rope.scaling.original_context_length", _u32(rope.original_context)
    if rope.attention_factor is not None:
        # llama.cpp multiplies this key by YaRN's own factor. (Its converter writes `yarn_attn_factor` instead, which
        # llama.cpp does not read for these architectures: 30 % off in the logits of a test model.)
        yarn = 1 + 0.1 * math.log(max(1.0, rope.factor))
        yield "rope.scaling.attn_factor", _f32(rope.attention_factor / yarn)


def _u32(value: int) -> GGUFValue:
    return GGUFValue.scalar(ValueType.UINT32, value)


def _f32(value: float) -> GGUFValue:
    return GGUFValue.scalar(ValueType.FLOAT32, value)


def _string(value: str) -> GGUFValue:
    return GGUFValue.scalar(ValueType.STRING, value)
