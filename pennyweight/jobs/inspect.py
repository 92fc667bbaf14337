"""inspect: what is in a model file, from its header alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.gguf import StringArray

SHOWN_ITEMS = 4
"""Items of a metadata array that are shown; vocabularies have 150,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatShare:
    """How much of a model is stored in one format."""

    tensors: int
    weights: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor: shape in NumPy order, format, stored bytes."""

    shape: tuple[int, ...]
    format: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """What a model file holds.

    Attributes:
        bytes: of all tensors (padding and header not counted).
        bits_per_weight: stored bits ÷ weights over all tensors.
        by_format: format → share, the largest first.
        tensors: name → entry, in file order.
        metadata: key → value; an array of more than four items is cut and says how many it has.
    """

    source: str
    bytes: int
    weights: int
    bits_per_weight: float
    by_format: dict[str, FormatShare]
    tensors: dict[str, TensorEntry]
    metadata: dict[str, object]


def inspect(model: str) -> InspectResult:
    """Read the header of MODEL (a .gguf, a checkpoint directory, `embedded`). Raises: FormatError, BadRequest."""
    checkpoint = open_checkpoint(model)
    tensors = {t.name: TensorEntry(shape=t.shape, format=t.format, bytes=t.nbytes) for t in checkpoint.tensors}
    total = sum(entry.bytes for entry in tensors.values())
    weights = sum(t.rows * t.columns for t in checkpoint.tensors)
    return InspectResult(
        source=checkpoint.source,
        bytes=total,
        weights=weights,
        bits_per_weight=8 * total / weights if weights else 0.0,
        by_format=_by_format(checkpoint.tensors),
        tensors=tensors,
        metadata={key: _shown(value.value) for key, value in checkpoint.metadata.items()},
    )


def _by_format(tensors: Sequence[LazyTensor]) -> dict[str, FormatShare]:
    groups: dict[str, list[LazyTensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.format, []).append(tensor)
    shares = {
        name: FormatShare(
            tensors=len(group),
            weights=sum(t.rows * t.columns for t in group),
            bytes=sum(t.nbytes for t in group),
        )
        for name, group in groups.items()
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1].bytes))


def _shown(value: object) -> object:
    if not isinstance(value, np.ndarray | StringArray):
        return value
    first = value[:SHOWN_ITEMS].tolist() if isinstance(value, np.ndarray) else value[:SHOWN_ITEMS]
    return [*first, f"… {len(value):,} items"] if len(value) > SHOWN_ITEMS else first
