"""Encode and decode, fast: the bytes of `pennyweight.formats`, at the speed of compiled code.

`encode` and `decode` go down an ordered tuple of backends; a backend is a function that may decline by returning False:

1. compiled: Numba on the CPU, one module per format named in `COMPILED` (about 100 times the NumPy truth);
2. by definition: the format's own readable NumPy, which every format has, so that the last place never declines.

Each kernel module `pennyweight.kernels.<name in lower case>` has `encode(rows, importance, out)`, `decode(data, out)`
or both, under the same contract: every array is C-contiguous, inputs are read-only views (so that a memory map and a
fresh array share one compilation), shapes are checked here, weights are finite, `out` is filled whole. Kernels run on
one thread and hold no lock: callers give each thread its own rows. They are compiled as `pennyweight.kernels.compile`
says, and written with the explicit vectors of `pennyweight.kernels.simd`. Nothing here imports Numba before the first
array arrives.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import ShapeError
from pennyweight.formats.base import BlockFormat

COMPILED = (
    "BF16",
    "F16",
    "FP8_E4M3",
    "FP8_E5M2",
    "IQ4_NL",
    "IQ4_XS",
    "Q2_K",
    "Q3_K",
    "Q4_0",
    "Q4_1",
    "Q4_K",
    "Q5_0",
    "Q5_1",
    "Q5_K",
    "Q6_K",
    "Q8_0",
)
"""Formats that have a module of kernels here."""


def encode(
    format: BlockFormat,
    rows: NDArray[np.float32],
    importance: NDArray[np.float32] | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Encode rows: the bytes of `format.encode(rows, importance)`, fast.

    Args:
        rows: float32 (n, columns), finite.
        importance: float32 (columns,), shared by all rows, or None.
        out: uint8 (n, row_bytes), C-contiguous, to be filled and returned; made here where None.

    Raises:
        ShapeError: columns are not whole blocks, or `importance` or `out` does not fit.
    """
    count, columns = rows.shape
    out = _output(format, out, (count, format.row_bytes(columns)), np.uint8)
    if importance is not None and importance.shape != (columns,):
        raise ShapeError(f"{format.name}: importance has shape {importance.shape}, wanted ({columns},)")
    rows = _read_only(rows, np.float32)
    if importance is not None:
        importance = _read_only(importance, np.float32)
    if out.size and not any(backend(format, rows, importance, out) for backend in _ENCODERS):
        raise AssertionError(f"every encoder declined {format.name}")
    return out


def decode(format: BlockFormat, data: NDArray[np.uint8], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Decode rows: the numbers of `format.decode(data)`, fast.

    Args:
        data: uint8 (n, row_bytes).
        out: float32 (n, columns), C-contiguous, to be filled and returned; made here where None.

    Raises:
        ShapeError: row_bytes are not whole blocks, or `out` does not fit.
    """
    count, row_bytes = data.shape
    if data.dtype != np.uint8:
        raise TypeError(f"{format.name}: encoded rows are uint8, got {data.dtype}")
    if row_bytes % format.block_bytes:
        raise ShapeError(f"{format.name} rows are multiples of {format.block_bytes} bytes, got {row_bytes}")
    columns = row_bytes // format.block_bytes * format.block_size
    out = _output(format, out, (count, columns), np.float32)
    data = _read_only(data, np.uint8)
    if out.size and not any(backend(format, data, out) for backend in _DECODERS):
        raise AssertionError(f"every decoder declined {format.name}")
    return out


def _encode_compiled(
    format: BlockFormat, rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]
) -> bool:
    kernel = _kernel(format, "encode")
    if kernel is None:
        return False
    kernel(rows, importance if format.uses_importance else None, out)
    return True


def _encode_by_definition(
    format: BlockFormat, rows: NDArray[np.float32], importance: NDArray[np.float32] | None, out: NDArray[np.uint8]
) -> bool:
    out[...] = format.encode(rows, importance)
    return True


def _decode_compiled(format: BlockFormat, data: NDArray[np.uint8], out: NDArray[np.float32]) -> bool:
    kernel = _kernel(format, "decode")
    if kernel is None:
        return False
    kernel(data, out)
    return True


def _decode_by_definition(format: BlockFormat, data: NDArray[np.uint8], out: NDArray[np.float32]) -> bool:
    out[...] = format.decode(data)
    return True


_ENCODERS = (_encode_compiled, _encode_by_definition)
_DECODERS = (_decode_compiled, _decode_by_definition)


def _kernel(format: BlockFormat, verb: str) -> Callable[..., None] | None:
    """The compiled function for `verb`, or None where the format has no module or the module no such function."""
    if format.name not in COMPILED:
        return None
    module: ModuleType = import_module(f"pennyweight.kernels.{format.name.lower()}")
    return getattr(module, verb, None)


def _read_only(array: NDArray, dtype: type) -> NDArray:
    """A read-only, C-contiguous view (a copy only where it must be), so that Numba sees one type and compiles once."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def _output(format: BlockFormat, out: NDArray | None, shape: tuple[int, int], dtype: type) -> NDArray:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not (out.flags.c_contiguous and out.flags.writeable):
        raise ShapeError(
            f"{format.name}: out is {out.dtype} {out.shape}, wanted writable C-contiguous {np.dtype(dtype)} {shape}"
        )
    return out
