"""One row of the catalogue: what decides bytes and speed in the config.json of a published model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COUNTS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published model: its repository, the fields of its config.json, and its name where the repository's is odd."""

    repository: str
    fields: Mapping[str, Any]
    name: str = ""


def row(repository: str, class_name: str, *counts: int, name: str = "", **fields: Any) -> Row:
    """A row; `counts` are hidden size, feed-forward size, blocks, heads and key-value heads."""
    named = {"architectures": [class_name], **dict(zip(_COUNTS, counts, strict=True)), **fields}
    return Row(repository=repository, fields=named, name=name)


def positions(tokens: int) -> dict[str, Any]:
    """The positions a model was trained on."""
    return {"max_position_embeddings": tokens}


def yarn(factor: float, original: int) -> dict[str, Any]:
    """Positions stretched by YaRN."""
    return {"rope_scaling": {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}}
