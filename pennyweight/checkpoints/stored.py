"""Parts of a packed module as arrays: each checked against what the others imply, before anything is read."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError

SCALE_FORMATS = ("F16", "BF16", "F32")


def modules_with(stored: Mapping[str, StoredTensor], suffix: str) -> list[str]:
    """Modules that have a tensor of that suffix, in file order."""
    return [name.removesuffix(f".{suffix}") for name in stored if name.endswith(f".{suffix}")]


def part(
    stored: Mapping[str, StoredTensor], module: str, suffix: str, formats: tuple[str, ...], dimensions: int = 2
) -> StoredTensor:
    """A module's tensor of that suffix. Raises: FormatError where it is absent, of another dtype or dimension."""
    tensor = stored.get(f"{module}.{suffix}")
    if tensor is None:
        raise FormatError(f"{module} has no {suffix}; the checkpoint is incomplete")
    if tensor.format not in formats or len(tensor.shape) != dimensions:
        wanted = f"{' or '.join(formats)} of {dimensions} dimensions"
        raise FormatError(f"{tensor.name} is {tensor.format} of shape {tensor.shape}; wanted {wanted}")
    return tensor


def require_shape(tensor: StoredTensor, *wanted: tuple[int, ...]) -> None:
    """Raises: FormatError where the shape is none of those that the module's other tensors imply."""
    if tensor.shape not in wanted:
        raise FormatError(
            f"{tensor.source.name}: {tensor.name} has shape {tensor.shape}, the rest of its module implies "
            f"{' or '.join(map(str, dict.fromkeys(wanted)))}"
        )


def numbers(tensor: StoredTensor, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
    """Rows of scales as float32 (rows, columns)."""
    return formats.get(tensor.format).decode(tensor.rows(start, tensor.row_count if stop is None else stop))


def integers(tensor: StoredTensor, dtype: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Rows of whole numbers as they are stored (`<i4`, `<u4`, `i1` …)."""
    return tensor.rows(start, tensor.row_count if stop is None else stop).view(dtype)


def column_slab(tensor: StoredTensor, dtype: str, start: int, stop: int) -> NDArray[Any]:
    """Columns [start, stop) of a matrix whose rows are the wrong way round for us: (rows, stop − start).

    Read row by row, so that a slab of weights costs its own bytes, not the whole tensor's.
    """
    width = np.dtype(dtype).itemsize
    out = np.empty((tensor.row_count, (stop - start) * width), np.uint8)
    if (stop - start) * width == tensor.row_bytes:
        return tensor.rows(0, tensor.row_count, out).view(dtype)
    for row in range(tensor.row_count):
        offset = tensor.offset + row * (tensor.row_bytes or 0) + start * width
        tensor.source.read_into(offset, out[row].data.cast("B"))
    return out.view(dtype)


def stretch(tensor: StoredTensor, dtype: str, start: int, stop: int) -> NDArray[Any]:
    """Numbers [start, stop) of a tensor of one dimension, which must have them."""
    out = np.empty(stop - start, dtype)
    if out.size:
        tensor.source.read_into(tensor.offset + start * out.itemsize, out.view(np.uint8).data)
    return out


def aligned(read: Callable[[int, int], NDArray[Any]], rows: int, step: int) -> Callable[[int, int], NDArray[Any]]:
    """A reader of any rows, from one of rows in multiples of `step` (its last slab may be shorter)."""

    def read_any(start: int, stop: int) -> NDArray[Any]:
        first, last = start // step * step, min(rows, -(-stop // step) * step)
        return read(first, last)[start - first : stop - first]

    return read_any
