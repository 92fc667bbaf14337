"""Quantize tensor by tensor, a slab of rows per thread: read, check, encode, write. Nothing holds a whole tensor.

Each thread takes the next slab and carries it all the way from the source to the output, so that while one thread
waits for the disk another encodes; a tensor of 15 GB passes through the same few megabytes as one of 15 kB.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight import kernels
from pennyweight.checkpoints.base import LazyTensor
from pennyweight.core.errors import BadWeights
from pennyweight.core.parallel import each_in_threads
from pennyweight.formats.base import BlockFormat
from pennyweight.recipes.file_types import UNQUANTIZED

SLAB_WEIGHTS = 1 << 20
"""Weights of one slab: 4 MiB as float32. Processor time was the same from 1 << 17 to 1 << 20; smaller slabs pay for
calls,
larger ones leave the cache between reading and encoding (Q8_0 at 1 << 22: a third more)."""

FLOAT16_MAX = 65504.0
"""No format stores a scale or minimum larger than its largest weight: below this none overflows, nothing is checked."""

WriteRows = Callable[[str, int, NDArray[np.uint8]], None]
"""(tensor name, first row, uint8 (rows, row_bytes)); called from several threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlan:
    """One tensor on its way to one format.

    Attributes:
        tensor: where the rows come from.
        format: what they become; where it is the format they are stored in, their bytes are copied.
        importance: float32 (matrices, columns), one row for each leading index of the tensor (an expert), or None.
    """

    tensor: LazyTensor
    format: BlockFormat
    importance: NDArray[np.float32] | None = None

    @property
    def is_copy(self) -> bool:
        """Whether the stored bytes are kept as they are."""
        return self.tensor.format == self.format.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """Rows [start, stop) of a tensor, all of one matrix where importance differs by matrix."""

    plan: TensorPlan
    start: int
    stop: int
    importance: NDArray[np.float32] | None


def stream(
    plans: Iterable[TensorPlan],
    write_rows: WriteRows,
    *,
    threads: int,
    advance: Callable[[int], None] = lambda nbytes: None,
    slab_weights: int = SLAB_WEIGHTS,
) -> None:
    """Encode every tensor of `plans` and hand the rows to `write_rows`; the bytes do not depend on threads or slabs.

    `advance` is told the bytes of each slab once they are written.

    Raises:
        BadWeights: a weight is NaN or infinite, or too large for the format; names the tensor, row and column.
    """

    def carry(slab: Slab) -> None:
        plan = slab.plan
        if plan.is_copy:
            data = plan.tensor.raw_rows(slab.start, slab.stop)
            if plan.format.name in UNQUANTIZED:
                _largest(kernels.decode(plan.format, data), slab)
        else:
            rows = plan.tensor.read_rows(slab.start, slab.stop)
            largest = _largest(rows, slab)
            data = kernels.encode(plan.format, rows, slab.importance)
            if largest > FLOAT16_MAX:
                _require_held(kernels.decode(plan.format, data), rows, slab)
        write_rows(plan.tensor.name, slab.start, data)
        advance(data.nbytes)

    each_in_threads(carry, _slabs(plans, slab_weights), threads)


def _slabs(plans: Iterable[TensorPlan], slab_weights: int) -> Iterator[Slab]:
    for plan in plans:
        matrices = 1 if plan.importance is None else len(plan.importance)
        matrix_rows = plan.tensor.rows // matrices
        step = max(1, slab_weights // max(1, plan.tensor.columns))
        for matrix in range(matrices):
            importance = None if plan.importance is None else plan.importance[matrix]
            first, last = matrix * matrix_rows, (matrix + 1) * matrix_rows
            for start in range(first, last, step):
                yield Slab(plan=plan, start=start, stop=min(start + step, last), importance=importance)


def _largest(rows: NDArray[np.float32], slab: Slab) -> float:
    """The largest magnitude in the slab. Raises: BadWeights where a weight is no number."""
    # min and max carry NaN and show infinity: two vector passes in cache, no temporary of the slab's size.
    largest = max(-float(rows.min(initial=0)), float(rows.max(initial=0)))
    if not np.isfinite(rows.min(initial=0)) or not np.isfinite(largest):
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise BadWeights(
            f"{slab.plan.tensor.name} holds {rows[row, column]} at row {slab.start + row}, column {column}; "
            "the checkpoint is damaged, nothing was written"
        )
    return largest


def _require_held(decoded: NDArray[np.float32], rows: NDArray[np.float32], slab: Slab) -> None:
    """Raises: BadWeights where a scale has passed float16's range, so that weights read back as infinity or NaN."""
    if not np.isfinite(decoded).all():
        row = int(np.argwhere(~np.isfinite(decoded))[0, 0])
        raise BadWeights(
            f"{slab.plan.tensor.name} has {np.abs(rows[row]).max():g} in row {slab.start + row}, too large for "
            f"{slab.plan.format.name}, whose scales are float16; keep the tensor in F32 or BF16"
        )
