"""AWQ's layout, version GEMM, as AutoAWQ writes it: 4 bits, zero points, words along the rows in an order of its own.

For a matrix (rows, columns) in groups of g columns:

    qweight  I32 (columns, rows / 8)       nibble j of word c is row 8c + ORDER[j]
    qzeros   I32 (columns / g, rows / 8)   zero points, in the same order
    scales   F16 (columns / g, rows)

Source: AutoAWQ `awq/modules/linear/gemm.py`, `awq/utils/packing_utils.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.configuration import choice, whole
from pennyweight.checkpoints.gptq import as_float32
from pennyweight.checkpoints.layout import (
    Inventory,
    Layout,
    PackedModule,
    PackedTensor,
    only_scheme,
    packed,
    packed_scale,
)
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.checkpoints.stored import SCALE_FORMATS, aligned, column_slab, modules_with, part, require_shape
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError
from pennyweight.formats.codes import IntegerCodes
from pennyweight.formats.dense_bits import pack_bits, unpack_bits

BITS = 4
PER_WORD = 8
ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])
_INVERSE = np.argsort(ORDER)


def refusal(scheme: Scheme, rows: int, columns: int) -> str | None:
    """See `Layout.refusal`."""
    if scheme.kind is not Kind.INTEGER or scheme.bits != BITS:
        return f"AWQ files hold 4-bit integers, not {scheme.label}"
    if rows % PER_WORD:
        return f"AWQ packs rows by {PER_WORD}, got {rows}"
    if scheme.group_size and columns % scheme.group_size:
        return f"{columns} columns are no whole groups of {scheme.group_size}"
    return None


def pack(codes: Codes) -> tuple[PackedTensor, ...]:
    """See `Layout.pack`."""
    assert isinstance(codes, IntegerCodes)
    return (
        packed("qweight", pack_rows(codes.codes.T)),
        packed("qzeros", pack_rows(codes.zero_point.T)),
        packed_scale("scales", codes.scale.T),
    )


def pack_rows(codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Codes (n, rows) → words (n, rows / 8)."""
    n, rows = codes.shape
    ordered = codes.reshape(n, rows // PER_WORD, PER_WORD)[:, :, ORDER].reshape(n, rows)
    return pack_bits(ordered, BITS).view(np.int32)


def unpack_rows(words: NDArray[Any]) -> NDArray[np.uint8]:
    """Words uint32 (n, rows / 8) → codes (n, rows)."""
    n, count = words.shape
    ordered = unpack_bits(words, BITS, count * PER_WORD).reshape(n, count, PER_WORD)
    return ordered[:, :, _INVERSE].reshape(n, count * PER_WORD)


def configuration(inventory: Inventory) -> dict[str, Any]:
    """See `Layout.configuration`."""
    scheme = only_scheme(inventory)
    return {
        "quant_method": "awq",
        "bits": BITS,
        # 0 and −1 both mean a whole row to AutoAWQ; its loaders know −1.
        "group_size": scheme.group_size or -1,
        "zero_point": True,  # there are zero points; of symmetric codes all are 8
        "version": "gemm",
        "modules_to_not_convert": list(inventory.plain) or None,
    }


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """See `Layout.modules`."""
    choice(configuration, "bits", (BITS,), default=BITS)
    version = str(configuration.get("version", "gemm")).lower()
    choice({"version": version}, "version", ("gemm",))
    group_size = whole(configuration, "group_size", least=-1, default=128)
    symmetric = configuration.get("zero_point", True) is False
    return [_module(stored, name, group_size, symmetric) for name in modules_with(stored, "qweight")]


def _module(stored: Mapping[str, StoredTensor], name: str, group_size: int, symmetric: bool) -> PackedModule:
    qweight, qzeros = (part(stored, name, suffix, ("I32",)) for suffix in ("qweight", "qzeros"))
    scales = part(stored, name, "scales", SCALE_FORMATS)
    columns, rows = qweight.shape[0], qweight.shape[1] * PER_WORD
    group = columns if group_size < 1 else group_size
    if columns % group:
        raise FormatError(f"{qweight.name} has {columns} columns, no whole groups of {group}")
    require_shape(qzeros, (columns // group, rows // PER_WORD))
    require_shape(scales, (columns // group, rows))

    def codes(start: int, stop: int) -> IntegerCodes:
        scale = column_slab(scales, "<u4" if scales.format == "F32" else "<u2", start, stop)
        return IntegerCodes(
            bits=BITS,
            group_size=group,
            symmetric=symmetric,
            codes=np.ascontiguousarray(aligned(partial(_rows, qweight), rows, PER_WORD)(start, stop)),
            scale=as_float32(np.ascontiguousarray(scale.T), scales.format),
            zero_point=aligned(partial(_rows, qzeros), rows, PER_WORD)(start, stop),
        )

    return PackedModule(
        name=name,
        scheme=Scheme(
            kind=Kind.INTEGER, bits=BITS, group_size=None if group >= columns else group, symmetric=symmetric
        ),
        shape=(rows, columns),
        tensors=(qweight, qzeros, scales),
        codes=codes,
        read_rows=lambda start, stop: codes(start, stop).decode(),
    )


def _rows(tensor: StoredTensor, start: int, stop: int) -> NDArray[np.uint8]:
    """Codes of rows in multiples of 8: (stop − start, n)."""
    return unpack_rows(column_slab(tensor, "<u4", start // PER_WORD, stop // PER_WORD)).T


AWQ = Layout(
    name="awq",
    summary="AWQ, GEMM packing: integers of 4 bits, symmetric or not",
    refusal=refusal,
    pack=pack,
    configuration=configuration,
    modules=modules,
    source="AutoAWQ awq/modules/linear/gemm.py",
)
