"""What can still be said of a model whose architecture is not known, but whose files are there: its tensors as stored.

Its weights are the numbers of its safetensors headers, though names and so formats may differ in a GGUF; what it keeps
of a token lies between the bounds of its config (`config_bounds`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pennyweight.containers.tensor import StoredTensor
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.config_bounds import anatomy_within_bounds
from pennyweight.models.tensors import PlannedTensor

_INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")


def bounded_anatomy(
    config: Mapping[str, Any], stored: Iterable[StoredTensor], *, name: str, repository: str, why: str
) -> Anatomy:
    """The stored tensors, with the most and (as its `least`) the least cache that config.json leaves possible.

    Raises: as `anatomy_within_bounds`.
    """
    source = f"config.json and safetensors headers of {repository or name}"
    most = anatomy_within_bounds(config, name=name, repository=repository, source=source, why=why)
    tensors = tuple(_planned(tensor) for tensor in stored if tensor.format not in _INTEGERS)
    least = most.least and replace(most.least, tensors=tensors)
    return replace(most, tensors=tensors, least=least)


def _planned(tensor: StoredTensor) -> PlannedTensor:
    return PlannedTensor(name=tensor.name, shape=tensor.shape, format="F32" if len(tensor.shape) < 2 else "F16")
