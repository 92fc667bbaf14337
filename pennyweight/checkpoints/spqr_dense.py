"""SpQR in as few bits as it has, a layout of our own: *research*, read back here and by nobody else.

The published layout (`checkpoints.spqr`) spends a 64-bit word on 16 weights, 4 bits a weight before outliers, for a
kernel's sake. Here nothing is padded. For a matrix (rows, columns), G groups of columns / G, R = rows / 16:

    codes            I32 (rows, ⌈columns · 3 / 32⌉)  dense bits along the columns, see `dense_bits`
    group_codes      I32 (R, 3 · G)                  dense bits: of row, then group, then scale before zero point
    second           F16 (R, G, 4)                   scale and zero point of the scales, then of the zero points
    outlier_counts   I16 (rows,)                     unsigned; outliers of each row
    outlier_columns  I16 (outliers,)                 unsigned, rising within a row
    outlier_values   F16 (outliers,)                 the weight itself, which replaces what the codes give

    bits = 3 + (6 + 4) / group + 32 · outliers / weights + 16 / columns

Nothing is rounded on the way: what is read back are the codes that were written.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.configuration import choice
from pennyweight.checkpoints.layout import Inventory, Layout, PackedModule, PackedTensor, only_scheme, packed
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.checkpoints.stored import aligned, integers, modules_with, numbers, part, require_shape, stretch
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.formats.dense_bits import pack_bits, unpack_bits, words_of
from pennyweight.formats.spqr_codes import SPQR_TILE as TILE
from pennyweight.formats.spqr_codes import SpQRCodes

METHOD = "pennyweight-spqr"
"""`quant_method`: a name that no runtime claims, so that none reads it as something else."""

BITS = 3
MOST_COLUMNS = 1 << 16
_GROUPS = (16, 32, 64, 128)


def refusal(scheme: Scheme, rows: int, columns: int) -> str | None:
    """See `Layout.refusal`."""
    if scheme.kind is not Kind.SPQR:
        return f"SpQR's layout holds SpQR's two-level codes, not {scheme.label}"
    if scheme.group_size not in _GROUPS or rows % TILE or columns % scheme.group_size or columns >= MOST_COLUMNS:
        return (
            f"spqr-dense wants groups of {', '.join(map(str, _GROUPS))}, rows in multiples of {TILE} and fewer than "
            f"65,536 columns in whole groups, got {scheme.label} of {rows} × {columns}"
        )
    return None


def pack(codes: Codes) -> tuple[PackedTensor, ...]:
    """See `Layout.pack`."""
    assert isinstance(codes, SpQRCodes)
    values = codes.outlier_values.astype(np.float16)
    if not np.isfinite(values).all():
        raise BadRequest("an outlier is past float16's range, which SpQR's layouts cannot hold")
    pairs = np.stack((codes.scale_codes, codes.zero_codes), axis=-1)
    return (
        packed("codes", pack_bits(codes.codes, BITS).view(np.int32)),
        packed("group_codes", pack_bits(pairs.reshape(len(codes.codes) // TILE, -1), BITS).view(np.int32)),
        packed("second", codes.second.astype(np.float16)),
        packed("outlier_counts", np.diff(codes.outlier_offsets).astype(np.uint16).view(np.int16)),
        packed("outlier_columns", codes.outlier_columns.astype(np.uint16).view(np.int16)),
        packed("outlier_values", values),
    )


def configuration(inventory: Inventory) -> dict[str, Any]:
    """See `Layout.configuration`."""
    return {
        "quant_method": METHOD,
        "bits": BITS,
        "group_size": only_scheme(inventory).group_size,
        "modules_to_not_convert": list(inventory.plain) or None,
    }


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """See `Layout.modules`."""
    choice(configuration, "bits", (BITS,))
    group = choice(configuration, "group_size", _GROUPS)
    return [_module(stored, name, group) for name in modules_with(stored, "group_codes")]


def _module(stored: Mapping[str, StoredTensor], name: str, group: int) -> PackedModule:
    codes, pairs = (part(stored, name, key, ("I32",)) for key in ("codes", "group_codes"))
    second = part(stored, name, "second", ("F16",), 3)
    counts, columns = (part(stored, name, f"outlier_{key}", ("I16",), 1) for key in ("counts", "columns"))
    values = part(stored, name, "outlier_values", ("F16",), 1)
    rows, groups = codes.shape[0], second.shape[1]
    width = groups * group
    if not rows or not width or rows % TILE or width >= MOST_COLUMNS:
        raise FormatError(f"{name}: {rows} rows of {width} columns are no whole tiles of {TILE} rows, or too many")
    require_shape(codes, (rows, words_of(width, BITS)))
    require_shape(pairs, (rows // TILE, words_of(2 * TILE * groups, BITS)))
    require_shape(second, (rows // TILE, groups, 4))
    require_shape(counts, (rows,))
    require_shape(columns, values.shape)
    tensors = (codes, pairs, second, counts, columns, values)
    read_codes = partial(_codes, name, tensors, width, groups)
    return PackedModule(
        name=name,
        scheme=Scheme(kind=Kind.SPQR, bits=BITS, group_size=group, symmetric=False),
        shape=(rows, width),
        tensors=tensors,
        codes=read_codes,
        read_rows=aligned(lambda start, stop: read_codes(start, stop).decode(), rows, TILE),
    )


def _codes(name: str, tensors: tuple[StoredTensor, ...], columns: int, groups: int, start: int, stop: int) -> SpQRCodes:
    """Rows in multiples of 16."""
    codes, pairs, second, *outliers = tensors
    first, last = start // TILE, stop // TILE
    found = unpack_bits(integers(pairs, "<u4", first, last), BITS, 2 * TILE * groups).reshape(-1, groups, 2)
    return SpQRCodes(
        codes=unpack_bits(integers(codes, "<u4", start, stop), BITS, columns),
        scale_codes=np.ascontiguousarray(found[..., 0]),
        zero_codes=np.ascontiguousarray(found[..., 1]),
        second=numbers(second, first * groups, last * groups).reshape(-1, groups, 4),
        **_outliers(name, outliers, columns, start, stop),
    )


def _outliers(name: str, tensors: list[StoredTensor], columns: int, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Outliers of some rows. Raises: FormatError."""
    counts, places, values = tensors
    ends = np.cumsum(stretch(counts, "<u2", 0, counts.shape[0]), dtype=np.int64)
    if ends[-1] != values.shape[0]:
        raise FormatError(f"{name}: outlier_counts add up to {ends[-1]}, but there are {values.shape[0]} outliers")
    begins = np.concatenate(([0], ends))[start : stop + 1]
    at = stretch(places, "<u2", int(begins[0]), int(begins[-1])).astype(np.int32)
    offsets = begins - begins[0]
    rising = np.diff(at) > 0
    rising[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(at))] - 1] = True  # a row's first may be anywhere
    if len(at) and (at.max() >= columns or not rising.all()):
        raise FormatError(f"{name}: outlier_columns do not rise within a row, below {columns}")
    return {
        "outlier_offsets": offsets,
        "outlier_columns": at,
        "outlier_values": stretch(values, "<f2", int(begins[0]), int(begins[-1])).astype(np.float32),
    }


SPQR_DENSE = Layout(
    name="spqr-dense",
    summary="SpQR without padding, research: 3-bit codes with 3-bit scales, and outliers",
    refusal=refusal,
    pack=pack,
    configuration=configuration,
    modules=modules,
    source="pennyweight checkpoints/spqr_dense.py",
)
