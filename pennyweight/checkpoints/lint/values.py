"""Numbers that cannot be: NaN and infinity anywhere, scales of zero or below."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pennyweight import formats
from pennyweight.checkpoints.lint.finding import Finding
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.units import MIB

SCALES = (".scales", ".weight_scale", ".SCB", ".input_scale", ".weight_scale_inv", ".k_scale", ".v_scale")
_FLOATS = ("F64", "F32", "F16", "BF16", "FP8_E4M3", "FP8_E5M2")
SAMPLE_BYTES = 4 * MIB
"""Of a tensor's beginning, middle and end together, where not everything is read."""

_SLAB_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was counted in a tensor: numbers that are not finite, and (of scales) zeros and negative ones."""

    not_finite: int = 0
    zeros: int = 0
    negative: int = 0


def to_read(tensors: Sequence[StoredTensor], everything: bool) -> int:
    """Bytes that `values` will read, for a progress bar."""
    return sum((stop - start) * (t.row_bytes or 0) for t in tensors for start, stop in _slabs(t, everything))


def float_tensors(stored: Mapping[str, StoredTensor]) -> list[StoredTensor]:
    """Tensors that can hold NaN as they lie in a file of single numbers."""
    return [tensor for tensor in stored.values() if tensor.format in _FLOATS and tensor.row_bytes]


def values(tensors: Sequence[StoredTensor], everything: bool, advance: Callable[[int], None]) -> Iterator[Finding]:
    """Look at every scale, and at samples of the other tensors (at all of them where `everything`)."""
    for tensor in tensors:
        is_scale = tensor.name.endswith(SCALES)
        seen = _count(tensor, everything or is_scale, is_scale, advance)
        yield from _findings(tensor, seen, is_scale)


def _findings(tensor: StoredTensor, seen: Seen, is_scale: bool) -> Iterator[Finding]:
    if seen.not_finite:
        yield Finding(
            level="error",
            check="values",
            where=tensor.name,
            message=f"{seen.not_finite} numbers are NaN or infinite",
            advice="the model computes NaN; quantize or download it again",
        )
    if is_scale and seen.negative:
        yield Finding(
            level="warning",
            check="scales",
            where=tensor.name,
            message=f"{seen.negative} scales are negative; kernels that take the sign from the code misread them",
        )
    if is_scale and seen.zeros:
        yield Finding(
            level="warning",
            check="scales",
            where=tensor.name,
            message=f"{seen.zeros} scales are zero: those groups of weights are all zero",
            advice="right for weights that were zero; else their calibration saw no tokens (an expert never chosen?)",
        )


def _count(tensor: StoredTensor, everything: bool, is_scale: bool, advance: Callable[[int], None]) -> Seen:
    not_finite = zeros = negative = 0
    format = formats.get(tensor.format)
    for start, stop in _slabs(tensor, everything):
        data = tensor.rows(start, stop)
        found = format.decode(data)
        not_finite += int(found.size - np.count_nonzero(np.isfinite(found)))
        if is_scale:
            zeros += int(np.count_nonzero(found == 0))
            negative += int(np.count_nonzero(found < 0))
        advance(data.nbytes)
    return Seen(not_finite=not_finite, zeros=zeros, negative=negative)


def _slabs(tensor: StoredTensor, everything: bool) -> Iterator[tuple[int, int]]:
    """Rows to read: all of them in slabs, or three samples."""
    count, row_bytes = tensor.row_count, max(1, tensor.row_bytes or 1)
    if everything or tensor.nbytes <= SAMPLE_BYTES:
        step = max(1, _SLAB_BYTES // row_bytes)
        yield from ((start, min(start + step, count)) for start in range(0, count, step))
        return
    step = max(1, SAMPLE_BYTES // 3 // row_bytes)
    starts = sorted({0, max(0, (count - step) // 2), max(0, count - step)})
    end = 0
    for start in starts:
        if start >= end:
            end = min(start + step, count)
            yield start, end
