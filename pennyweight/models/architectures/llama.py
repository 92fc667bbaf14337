"""Llama 2 and 3, Mistral, Mixtral: GGUF's `llama`."""

from pennyweight.models.architectures.base import (
    Architecture,
    Outline,
    common_features,
    common_numbers,
    expert_numbers,
    tensor,
)
from pennyweight.models.families import LLAMA as LLAMA_FAMILY
from pennyweight.models.families import MIXTRAL as MIXTRAL_FAMILY
from pennyweight.models.fields import Fields

ROPE_FREQUENCIES = tensor("rope_freqs.weight", "half_head", where="llama3")
"""Llama 3's frequency factors, a tensor of their own."""


def rope_kind(fields: Fields) -> str:
    """The kind of rope scaling: `llama3`, `yarn`, `longrope` …; empty for none."""
    options = fields.value("rope_parameters", "rope_scaling")
    kind = options.get("rope_type", options.get("type")) if isinstance(options, dict) else None
    return kind if isinstance(kind, str) and kind != "default" else ""


def _read_dense(fields: Fields) -> Outline:
    features = common_features(fields) | {rope_kind(fields)}
    features |= {word for word in ("attention_bias", "mlp_bias") if fields.flag(word)}
    return Outline(numbers=common_numbers(fields), features=features)


def _read_mixtral(fields: Fields) -> Outline:
    numbers = common_numbers(fields) | expert_numbers(fields, "intermediate_size")
    del numbers["expert_feed_forward_length"]  # for this architecture it is the feed-forward length itself
    return Outline(numbers=numbers, features=common_features(fields))


LLAMA = Architecture(
    name="llama",
    class_names=("LlamaForCausalLM", "MistralForCausalLM", "Mistral3ForConditionalGeneration"),
    read=_read_dense,
    tensors=(ROPE_FREQUENCIES, *LLAMA_FAMILY.tensors),
    source="llama.cpp src/models/llama.cpp, conversion/llama.py",
)
MIXTRAL = Architecture(
    name="llama",
    class_names=("MixtralForCausalLM",),
    read=_read_mixtral,
    tensors=MIXTRAL_FAMILY.tensors,
    source="llama.cpp src/models/llama.cpp, conversion/llama.py",
)
