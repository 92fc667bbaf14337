"""Architectures that can be planned without weights, one file for each family of them."""

from pennyweight.models.architectures.base import Architecture
from pennyweight.models.architectures.llama import LLAMA, MIXTRAL
from pennyweight.models.architectures.qwen import QWEN2, QWEN3, QWEN3_MOE

ALL: tuple[Architecture, ...] = (LLAMA, MIXTRAL, QWEN2, QWEN3, QWEN3_MOE)


def by_class_name(name: str) -> Architecture | None:
    """The architecture of a class of transformers, as config.json names it; None where it is not known here."""
    return next((found for found in ALL if name in found.class_names), None)


def by_gguf_name(name: str) -> Architecture | None:
    """The architecture that GGUF files call by this name; None where it is not known here."""
    return next((found for found in ALL if found.name == name), None)
