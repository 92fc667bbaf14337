"""Parameters filled from lazy tensors: rows decoded in threads, heads back in transformers' order, one cast."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.checkpoints.rows import transformers_order
from pennyweight.core.parallel import each_in_threads
from pennyweight.core.units import MIB
from pennyweight.models.families import Part
from pennyweight.runtimes.torch_reference.placement import Placement

if TYPE_CHECKING:
    import torch

_SLAB_BYTES = 4 * MIB  # of float32, per thread: small beside a block, large beside the cost of a call


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slab:
    """Rows `first` … of a tensor, and where they go: `into`, of shape (rows, columns)."""

    tensor: LazyTensor
    first: int
    into: "torch.Tensor"
    head_length: int | None


def fill(parameter: "torch.Tensor", placed: Iterable[Placement], threads: int) -> None:
    """Write every number of `parameter` (any float dtype, on any device), through float32."""
    each_in_threads(_copy, (slab for placement in placed for slab in _slabs(parameter, placement)), threads)


def _slabs(parameter: "torch.Tensor", placement: Placement) -> Iterator[_Slab]:
    tensor = placement.tensor
    if tensor is None:
        parameter.zero_()
        return
    step = max(1, _SLAB_BYTES // (4 * tensor.columns))
    if placement.head_length:
        step = max(1, step // placement.head_length) * placement.head_length
    for first, into in _matrices(parameter, placement, tensor):
        for start in range(0, len(into), step):
            part = into[start : start + step]
            yield _Slab(tensor=tensor, first=first + start, into=part, head_length=placement.head_length)


def _matrices(
    parameter: "torch.Tensor", placement: Placement, tensor: LazyTensor
) -> Iterator[tuple[int, "torch.Tensor"]]:
    """Matrices within the parameter, each with the row of the tensor that is its first."""
    if placement.part is not Part.ALL:  # (experts, gate on top of up, columns)
        height = parameter.shape[1] // 2
        half = slice(0, height) if placement.part is Part.FIRST_HALF else slice(height, None)
        yield from ((expert * height, matrix[half]) for expert, matrix in enumerate(parameter))
    elif placement.expert is not None:
        yield placement.expert * parameter.shape[0], parameter
    else:
        yield 0, parameter.reshape(-1, tensor.columns)


def _copy(slab: _Slab) -> None:
    import torch

    rows = slab.tensor.read_rows(slab.first, slab.first + len(slab.into))
    if slab.head_length and len(slab.tensor.shape) == 1:  # a bias: its numbers are reordered as a matrix' rows are
        rows = transformers_order(rows.reshape(-1, 1), slab.head_length).reshape(rows.shape)
    elif slab.head_length:
        rows = transformers_order(rows, slab.head_length)
    slab.into.copy_(torch.from_numpy(rows))
