"""The exact bytes of every tensor of a model in a file type, from shapes and rules alone.

Nothing is estimated: `recipes.assign` names every tensor's format as llama-quantize does, and a format knows the bytes
of a row. What stands in a file besides (keys, vocabulary, padding to 32 bytes per tensor) is not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from pennyweight.core.errors import BadRequest
from pennyweight.formats.sizes import row_bytes
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.tensors import PlannedTensor
from pennyweight.recipes.assign import assign
from pennyweight.recipes.file_types import FileType
from pennyweight.recipes.order import block_number


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedTensor:
    """One tensor as a file of some type has it.

    Attributes:
        block: its decoder block; -1 for a tensor of none.
        nbytes: bytes of all rows.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    block: int
    nbytes: int


def sized_tensors(
    anatomy: Anatomy, file_type: FileType | None = None, has_imatrix: bool = False
) -> tuple[SizedTensor, ...]:
    """Every tensor in `file_type`, in the order of the file; without a type, as the anatomy has them.

    Raises: BadRequest where the model is an existing file that is quantized already.
    """
    if file_type is None:
        return tuple(map(_sized, anatomy.tensors, (tensor.format for tensor in anatomy.tensors)))
    if anatomy.file_type is not None:
        raise BadRequest(
            f"{anatomy.name} is {anatomy.file_type} already; name the model it was made from to plan {file_type.name}"
        )
    by_name = {tensor.name: tensor for tensor in anatomy.tensors}
    made = assign(anatomy.tensors, anatomy.shape, file_type, has_imatrix=has_imatrix)
    return tuple(_sized(by_name[a.name], a.format) for a in made)


def total_bytes(tensors: Iterable[SizedTensor]) -> int:
    """Bytes of them all."""
    return sum(tensor.nbytes for tensor in tensors)


def bits_per_weight(tensors: Iterable[SizedTensor]) -> float:
    """Stored bits over numbers, all tensors together."""
    listed = list(tensors)
    return 8 * total_bytes(listed) / max(1, sum(prod(tensor.shape) for tensor in listed))


def _sized(tensor: PlannedTensor, format: str) -> SizedTensor:
    rows, columns = prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.shape else 1
    return SizedTensor(
        name=tensor.name,
        shape=tensor.shape,
        format=format,
        block=block_number(tensor.name),
        nbytes=rows * row_bytes(format, columns),
    )
