"""GPTQ's layout: `qweight`, `qzeros`, `scales`, `g_idx`, as AutoGPTQ and GPTQModel write it; versions 1 and 2.

For a matrix (rows, columns) of b-bit codes in groups of g columns, G = ceil(columns / g), words as in `dense_bits`:

    qweight  I32 (columns · b / 32, rows)   codes along the columns, one stream for each row of the matrix
    qzeros   I32 (G, rows · b / 32)         zero points along the rows; version 1 stores each less one, modulo 2^b
    scales   F16 (G, rows)
    g_idx    I32 (columns,)                 group of each column

Version 1 has no zero point 0 (it wraps, and loaders that add one to whole words carry into the neighbour), so it is for
symmetric codes; version 2 for the others. Some writers put version 2's zero points under version 1's name: of a
symmetric checkpoint every zero point is known, so what is stored decides, whatever the configuration says.

Source: GPTQModel `nn_modules/qlinear`, `utils/model.py` `convert_gptq_v1_to_v2_format`; vllm-project/vllm#38966.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight import __version__
from pennyweight.checkpoints.configuration import choice, whole
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
from pennyweight.checkpoints.stored import (
    SCALE_FORMATS,
    aligned,
    column_slab,
    integers,
    modules_with,
    part,
    require_shape,
)
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.formats.codes import IntegerCodes
from pennyweight.formats.dense_bits import WORD_BITS, pack_bits, unpack_bits

BITS = (2, 3, 4, 8)
_ROWS = WORD_BITS  # so many rows' zero points begin and end with a word, whatever the bits


def refusal(scheme: Scheme, rows: int, columns: int) -> str | None:
    if scheme.kind is not Kind.INTEGER or scheme.bits not in BITS:
        return f"GPTQ files hold integers of 2, 3, 4 or 8 bits, not {scheme.label}"
    if columns * scheme.bits % WORD_BITS or rows * scheme.bits % WORD_BITS:
        return f"{rows} × {columns} codes of {scheme.bits} bits do not fill whole 32-bit words"
    if scheme.group_size and columns % scheme.group_size:
        return f"{columns} columns are no whole groups of {scheme.group_size}"
    return None


def _pack(codes: Codes, version: int) -> tuple[PackedTensor, ...]:
    assert isinstance(codes, IntegerCodes)
    if version == 1 and not codes.zero_point.all():
        raise BadRequest("a zero point of 0 cannot be stored in GPTQ version 1; write gptq_v2")
    columns, bits = codes.codes.shape[1], codes.bits
    zero_point = codes.zero_point - (1 if version == 1 else 0)
    group = np.arange(columns, dtype=np.int32) // min(codes.group_size, columns)
    return (
        packed("qweight", pack_bits(codes.codes, bits).T.view(np.int32)),
        packed("qzeros", pack_bits(zero_point.T, bits).view(np.int32)),
        packed_scale("scales", codes.scale.T),
        packed("g_idx", group.astype(np.int32)),
    )


def _configuration(inventory: Inventory, version: int) -> dict[str, Any]:
    scheme = only_scheme(inventory)
    skipped = {f"-:^{name.replace('.', chr(92) + '.')}$": {} for name in inventory.plain if name != "lm_head"}
    return {
        "quant_method": "gptq",
        "bits": scheme.bits,
        "group_size": scheme.group_size or -1,
        "sym": scheme.symmetric,
        "desc_act": False,
        "static_groups": False,
        "true_sequential": True,
        "lm_head": "lm_head" in inventory.schemes,
        "checkpoint_format": "gptq" if version == 1 else "gptq_v2",
        "pack_dtype": "int32",
        "meta": {"quantizer": [f"pennyweight:{__version__}"], "recipe": inventory.recipe},
    } | ({"dynamic": skipped} if skipped else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One module's tensors, and what its configuration says."""

    module: str
    qweight: StoredTensor
    qzeros: StoredTensor
    scales: StoredTensor
    g_idx: StoredTensor | None
    bits: int
    group_size: int
    symmetric: bool
    stored_less: int  # what the stored zero points are short of

    @property
    def rows(self) -> int:
        """Rows of the matrix."""
        return self.qweight.shape[1]

    @property
    def columns(self) -> int:
        """Columns of the matrix."""
        return self.qweight.shape[0] * WORD_BITS // self.bits


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """Quantized modules, every shape checked against the others."""
    bits = choice(configuration, "bits", BITS)
    group_size = whole(configuration, "group_size", least=-1)
    symmetric = configuration.get("sym", True) is True
    version = choice(configuration, "checkpoint_format", ("gptq", "gptq_v2"), default="gptq")
    dynamic = configuration.get("dynamic") or {}
    if not isinstance(dynamic, Mapping):
        raise FormatError(f"quantization_config: dynamic is a {type(dynamic).__name__}; wanted an object")
    if any(dynamic.values()):
        raise UnsupportedModel("quantization_config: `dynamic` gives modules bits of their own, which is not read here")
    names = modules_with(stored, "qweight")
    less = stored_version(stored, names, bits, symmetric) or (1 if version == "gptq" else 2)
    return [_module(_parts(stored, name, bits, group_size, symmetric, 2 - less)) for name in names]


def stored_version(stored: Mapping[str, StoredTensor], names: list[str], bits: int, symmetric: bool) -> int | None:
    """The version that the first module's zero points show; None where only the configuration can say."""
    if not names or not symmetric:
        return None
    qzeros = part(stored, names[0], "qzeros", ("I32",))
    words = integers(qzeros, "<u4", 0, min(1, qzeros.row_count))
    found = set(np.unique(unpack_bits(words, bits, words.shape[1] * WORD_BITS // bits)).tolist())
    half = 1 << (bits - 1)
    return {half - 1: 1, half: 2}.get(found.pop()) if len(found) == 1 else None


def _parts(
    stored: Mapping[str, StoredTensor], module: str, bits: int, group_size: int, symmetric: bool, less: int
) -> Parts:
    qweight = part(stored, module, "qweight", ("I32",))
    columns, rows = qweight.shape[0] * WORD_BITS // bits, qweight.shape[1]
    if qweight.shape[0] * WORD_BITS % bits or rows * bits % WORD_BITS:
        raise FormatError(f"{qweight.name} has shape {qweight.shape}, which is no whole number of {bits}-bit codes")
    group_size = columns if group_size == -1 else group_size
    if group_size < 1:
        raise FormatError(f"quantization_config: group_size is {group_size}; wanted -1 or at least 1")
    groups = -(-columns // group_size)
    qzeros, scales = part(stored, module, "qzeros", ("I32",)), part(stored, module, "scales", SCALE_FORMATS)
    require_shape(qzeros, (groups, rows * bits // WORD_BITS))
    require_shape(scales, (groups, rows))
    g_idx = part(stored, module, "g_idx", ("I32",), 1) if f"{module}.g_idx" in stored else None
    if g_idx is not None:
        require_shape(g_idx, (columns,))
    return Parts(
        module=module,
        qweight=qweight,
        qzeros=qzeros,
        scales=scales,
        g_idx=g_idx,
        bits=bits,
        group_size=group_size,
        symmetric=symmetric,
        stored_less=less,
    )


def _module(parts: Parts) -> PackedModule:
    whole_row = parts.group_size >= parts.columns
    scheme = Scheme(
        kind=Kind.INTEGER,
        bits=parts.bits,
        group_size=None if whole_row else parts.group_size,
        symmetric=parts.symmetric,
    )
    stored = (parts.qweight, parts.qzeros, parts.scales, *([parts.g_idx] if parts.g_idx else []))
    return PackedModule(
        name=parts.module,
        scheme=scheme,
        shape=(parts.rows, parts.columns),
        tensors=stored,
        codes=partial(_codes, parts),
        read_rows=partial(_read_rows, parts),
    )


def _codes(parts: Parts, start: int, stop: int) -> IntegerCodes:
    if not np.array_equal(column_groups(parts), np.arange(parts.columns) // parts.group_size):
        raise UnsupportedModel(
            f"{parts.module}: its columns are grouped in act-order (g_idx), which no other layout can say; "
            "quantize with static groups instead"
        )
    return _stored_codes(parts, start, stop)


def _read_rows(parts: Parts, start: int, stop: int) -> NDArray[Any]:
    codes, group = _stored_codes(parts, start, stop), column_groups(parts)
    zero_point = codes.zero_point.astype(np.float32)
    return codes.scale[:, group] * (codes.codes.astype(np.float32) - zero_point[:, group])


def column_groups(parts: Parts) -> NDArray[Any]:
    """Group of each column. Raises: FormatError for one that does not exist."""
    if parts.g_idx is None:
        return np.arange(parts.columns) // parts.group_size
    found = parts.g_idx.rows(0, 1).view("<i4")[0]
    groups = parts.scales.shape[0]
    if found.size and not 0 <= found.min() <= found.max() < groups:
        raise FormatError(f"{parts.g_idx.name} names groups {found.min()} … {found.max()}; there are {groups}")
    return found


def _stored_codes(parts: Parts, start: int, stop: int) -> IntegerCodes:
    bits, rows = parts.bits, parts.rows

    def zero_points(first: int, last: int) -> NDArray[Any]:
        words = column_slab(parts.qzeros, "<u4", first * bits // WORD_BITS, last * bits // WORD_BITS)
        return unpack_bits(words, bits, last - first).T

    words = column_slab(parts.qweight, "<u4", start, stop)
    zero_point = aligned(zero_points, rows, _ROWS)(start, stop)
    scale = column_slab(parts.scales, "<u4" if parts.scales.format == "F32" else "<u2", start, stop)
    return IntegerCodes(
        bits=bits,
        group_size=parts.group_size,
        symmetric=parts.symmetric,
        codes=unpack_bits(np.ascontiguousarray(words.T), bits, parts.columns),
        scale=as_float32(np.ascontiguousarray(scale.T), parts.scales.format),
        zero_point=(zero_point + np.uint8(parts.stored_less)) & np.uint8((1 << bits) - 1),
    )


def as_float32(words: NDArray[Any], format: str) -> NDArray[np.float32]:
    """The bits of F16, BF16 or F32 numbers → float32."""
    if format == "F16":
        return words.view(np.float16).astype(np.float32)
    return (words if format == "F32" else words.astype(np.uint32) << 16).view(np.float32)


def _layout(version: int) -> Layout:
    return Layout(
        name="gptq" if version == 1 else "gptq_v2",
        summary=f"GPTQ version {version}: integers of 2, 3, 4, 8 bits, "
        + ("symmetric (or without a zero point 0)" if version == 1 else "symmetric or not"),
        refusal=refusal,
        pack=partial(_pack, version=version),
        configuration=partial(_configuration, version=version),
        modules=modules,
        source="GPTQModel nn_modules/qlinear",
        second_configuration="quantize_config.json",
    )


GPTQ, GPTQ_V2 = _layout(1), _layout(2)
