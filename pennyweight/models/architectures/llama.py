"""Llama 2 and 3, Mistral, Mixtral: GGUF's `llama`."""

from pennyweight.models.architectures.base import Architecture, Outline, tensor
from pennyweight.models.architectures.common import (
    common_features,
    common_notes,
    common_numbers,
    expert_numbers,
    rope_kind,
)
from pennyweight.models.families import LLAMA as LLAMA_FAMILY
from pennyweight.models.families import MIXTRAL as MIXTRAL_FAMILY
from pennyweight.models.fields import Fields

ROPE_FREQUENCIES = tensor("rope_freqs.weight", "half_head", where="llama3")
"""Llama 3's frequency factors, a tensor of their own."""


def _read_dense(fields: Fields) -> Outline:
    features = common_features(fields) | {rope_kind(fields)}
    return Outline(numbers=common_numbers(fields), features=features, notes=common_notes(fields))


def _read_mixtral(fields: Fields) -> Outline:
    numbers = common_numbers(fields) | expert_numbers(fields, "intermediate_size")
    del numbers["expert_feed_forward_length"]  # for this architecture it is the feed-forward length itself
    return Outline(numbers=numbers, features=common_features(fields))


_SOURCE = "llama.cpp src/models/llama.cpp, conversion/llama.py, conversion/mistral3.py"

LLAMA = Architecture(
    name="llama",
    # A Mistral Small that sees is a Mistral with a projector in another file; `ministral3` is another architecture.
    class_names=("LlamaForCausalLM", "MistralForCausalLM", "Mistral3ForConditionalGeneration"),
    read=_read_dense,
    tensors=(ROPE_FREQUENCIES, *LLAMA_FAMILY.tensors),
    source=_SOURCE,
)
MIXTRAL = Architecture(
    name="llama",
    class_names=("MixtralForCausalLM",),
    read=_read_mixtral,
    tensors=MIXTRAL_FAMILY.tensors,
    source=_SOURCE,
)
