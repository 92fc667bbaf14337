"""SpQR's Hugging Face layout. *Research*: its only kernel is for CUDA, and no released transformers loads it.

For a matrix (rows, columns), both in multiples of 16, tiles of 16 × 16, row of tiles by row of tiles:

    dense_weights  I64 (rows · columns / 16,)  one word for each row of a tile:
                       bits 0..2    code of the row's scale
                       bits 3..5    code of its zero point
                       bits 6+3j..  code of weight j, j in 0..15
                       bits 54..61  byte k // 2 of the tile's second-order numbers, for row k of the tile
    row_offsets    I32 (rows + 1,)             where each row's outliers begin
    col_vals       I32 (outliers,)             float16 bits << 16 | column
    in_perm        I32 (columns / 2,)          order of the columns, two 16-bit numbers a word, the lower first

Second-order numbers are four float16: scale of scales, scale of zero points, zero point of scales, of zero points. The
kernel *adds* an outlier to what the codes give, so w − dense(w) is stored, rounded to float16; the paper's reference
code replaces the weight instead, and leaves s · (q − z) in the product. The kernel computes in float16, we in float32.

Source: github.com/Vahe1994/SpQR inference_lib/src/spqr_quant/inference.py `QuantizedLinear`, spqr_cuda_kernel.cu.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.configuration import choice
from pennyweight.checkpoints.layout import Inventory, Layout, PackedModule, PackedTensor, packed
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.checkpoints.stored import aligned, modules_with, part, require_shape, stretch
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.formats.spqr_codes import SPQR_TILE as TILE
from pennyweight.formats.spqr_codes import SpQRCodes

BITS = 3
_SECOND = (0, 2, 1, 3)
"""Where `SpQRCodes.second`'s scale, zero point, scale, zero point stand in the tile's four numbers."""
_WEIGHTS, _FRAGMENT = 6, 54
_MASK = np.uint64(7)


def refusal(scheme: Scheme, rows: int, columns: int) -> str | None:
    """See `Layout.refusal`."""
    if scheme.kind is not Kind.SPQR:
        return f"SpQR files hold SpQR's two-level codes, not {scheme.label}"
    if scheme.group_size != TILE:
        return f"SpQR's published layout has groups of {TILE}, not {scheme.label}; spqr-dense has others"
    if rows % TILE or columns % TILE or columns > 1 << 16:
        return f"SpQR wants rows and columns in multiples of {TILE}, of at most 65,536 columns, got {rows} × {columns}"
    return None


def pack(codes: Codes) -> tuple[PackedTensor, ...]:
    """See `Layout.pack`."""
    assert isinstance(codes, SpQRCodes)
    rows, columns = codes.codes.shape
    at = np.repeat(np.arange(rows), np.diff(codes.outlier_offsets)), codes.outlier_columns
    rest = (codes.outlier_values - codes.decode_dense()[at]).astype(np.float16)
    if not np.isfinite(rest).all():
        raise BadRequest("an outlier is past float16's range, which SpQR files cannot hold")
    values = rest.view(np.uint16).astype(np.uint32) << 16 | codes.outlier_columns.astype(np.uint32)
    order = np.arange(columns, dtype=np.uint16).view(np.int32)
    return (
        packed("dense_weights", _words(codes).view(np.int64)),
        packed("row_offsets", codes.outlier_offsets.astype(np.int32)),
        packed("col_vals", values.view(np.int32)),
        packed("in_perm", order),
    )


def _words(codes: SpQRCodes) -> NDArray[np.uint64]:
    rows, columns = codes.codes.shape
    tiles = codes.codes.reshape(rows // TILE, TILE, columns // TILE, TILE).transpose(0, 2, 1, 3).astype(np.uint64)
    shifts = np.arange(_WEIGHTS, _WEIGHTS + BITS * TILE, BITS, dtype=np.uint64)
    words = np.bitwise_or.reduce(tiles << shifts, axis=-1)
    for numbers, shift in ((codes.scale_codes, 0), (codes.zero_codes, BITS)):
        by_tile = numbers.reshape(rows // TILE, TILE, columns // TILE).transpose(0, 2, 1)
        words |= by_tile.astype(np.uint64) << np.uint64(shift)
    second = np.ascontiguousarray(codes.second[..., _SECOND].astype("<f2")).view(np.uint8)
    return (words | np.repeat(second, 2, axis=-1).astype(np.uint64) << np.uint64(_FRAGMENT)).reshape(-1)


def configuration(inventory: Inventory) -> dict[str, Any]:
    """See `Layout.configuration`."""
    shapes = {f"{name}.shape": shape[0] for name, shape in inventory.shapes.items()}
    return {
        "quant_method": "spqr",
        "bits": BITS,
        "beta1": TILE,
        "beta2": TILE,
        "shapes": shapes,
        "modules_to_not_convert": list(inventory.plain) or None,
    }


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """See `Layout.modules`."""
    choice(configuration, "bits", (BITS,))
    for key in ("beta1", "beta2"):
        choice(configuration, key, (TILE,))
    return [_module(stored, name) for name in modules_with(stored, "dense_weights")]


def _module(stored: Mapping[str, StoredTensor], name: str) -> PackedModule:
    dense = part(stored, name, "dense_weights", ("I64",), 1)
    offsets, values, order = (part(stored, name, key, ("I32",), 1) for key in ("row_offsets", "col_vals", "in_perm"))
    rows, columns = offsets.shape[0] - 1, order.shape[0] * 2
    if rows < TILE or columns < TILE or rows % TILE or columns % TILE:
        raise FormatError(f"{name}: {rows} rows of {columns} columns are no whole tiles of {TILE} × {TILE}")
    require_shape(dense, (rows * columns // TILE,))
    read = aligned(lambda start, stop: _codes(name, dense, offsets, values, order, start, stop).decode(), rows, TILE)
    return PackedModule(
        name=name,
        scheme=Scheme(kind=Kind.SPQR, bits=BITS, group_size=TILE, symmetric=False),
        shape=(rows, columns),
        tensors=(dense, offsets, values, order),
        codes=partial(_codes, name, dense, offsets, values, order),
        read_rows=read,
    )


def _codes(
    name: str,
    dense: StoredTensor,
    offsets: StoredTensor,
    values: StoredTensor,
    order: StoredTensor,
    start: int,
    stop: int,
) -> SpQRCodes:
    """Rows in multiples of 16."""
    columns, count = order.shape[0] * 2, stop - start
    if not np.array_equal(order.rows(0, 1).view("<u2")[0], np.arange(columns)):
        raise UnsupportedModel(f"{name}: its columns are reordered (in_perm), which is not read here")
    words = stretch(dense, "<u8", start * columns // TILE, stop * columns // TILE)
    words = words.reshape(count // TILE, columns // TILE, TILE)
    shifts = np.arange(0, _FRAGMENT, BITS, dtype=np.uint64)
    numbers = (words[..., None] >> shifts & _MASK).astype(np.uint8).transpose(0, 2, 1, 3)
    numbers = numbers.reshape(count, columns // TILE, TILE + 2)
    fragments = (words[..., ::2] >> np.uint64(_FRAGMENT) & np.uint64(255)).astype(np.uint8)
    second = np.ascontiguousarray(fragments).view("<f2").astype(np.float32)[..., _SECOND]
    found = SpQRCodes(
        codes=np.ascontiguousarray(numbers[..., 2:]).reshape(count, columns),
        scale_codes=np.ascontiguousarray(numbers[..., 0]),
        zero_codes=np.ascontiguousarray(numbers[..., 1]),
        second=second,
        **_outliers(name, offsets, values, columns, start, stop),
    )
    at = np.repeat(np.arange(count), np.diff(found.outlier_offsets)), found.outlier_columns
    found.outlier_values[...] += found.decode_dense()[at]
    return found


def _outliers(
    name: str, offsets: StoredTensor, values: StoredTensor, columns: int, start: int, stop: int
) -> dict[str, Any]:
    """Outliers of some rows, their values still without what the codes give. Raises: FormatError."""
    begins = stretch(offsets, "<i4", start, stop + 1).astype(np.int64)
    if begins[0] < 0 or (np.diff(begins) < 0).any() or begins[-1] > values.shape[0]:
        raise FormatError(f"{name}: row_offsets do not rise from 0 to the {values.shape[0]} outliers")
    words = stretch(values, "<u4", int(begins[0]), int(begins[-1]))
    found = (words & 0xFFFF).astype(np.int32)
    if found.size and found.max() >= columns:
        raise FormatError(f"{name}: an outlier is in column {found.max()} of {columns}")
    return {
        "outlier_offsets": begins - begins[0],
        "outlier_columns": found,
        "outlier_values": (words >> 16).astype(np.uint16).view(np.float16).astype(np.float32),
    }


SPQR = Layout(
    name="spqr",
    summary="SpQR, research: 3-bit codes with 3-bit scales, and outliers",
    refusal=refusal,
    pack=pack,
    configuration=configuration,
    modules=modules,
    source="Vahe1994/SpQR inference_lib/src/spqr_quant/inference.py",
)
