"""compressed-tensors: three of its formats, which vLLM, SGLang, TGI and transformers read.

For a matrix (rows, columns), G groups of columns (1 where each row has one scale), words as in `dense_bits`:

    pack-quantized   weight_packed      I32 (rows, ceil(columns · b / 32))   codes along the columns
                     weight_scale       F16 (rows, G)
                     weight_zero_point  I32 (ceil(rows · b / 32), G)         zero points along the rows; asymmetric only
                     weight_shape       I64 (2,)
    int-quantized    weight             I8 (rows, columns)                   code − 128
                     weight_scale       F32 (rows, 1)
    float-quantized  weight             F8_E4M3 (rows, columns)
                     weight_scale       F32 (rows, 1), or (1,) for the whole matrix
                     input_scale        F32 (1,)                             static activations only

Codes and zero points are stored as q + 2^(b−1) of the library's signed q, which is our unsigned code. Up to 0.16 the
library padded each word instead (10 codes of 3 bits); those files of 3, 5, 6, 7 bits differ and are refused.

Source: compressed-tensors `compressors/`, `quantization/quant_args.py`, `quant_config.py`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.compressed_parts import FLOAT, INT, PACK, find_module
from pennyweight.checkpoints.layout import (
    Inventory,
    Layout,
    Pack,
    PackedModule,
    PackedTensor,
    Refusal,
    packed,
    packed_scale,
)
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import UnsupportedModel
from pennyweight.formats import get
from pennyweight.formats.codes import Float8Codes, IntegerCodes
from pennyweight.formats.dense_bits import pack_bits

_VERSION = "0.17.0"
"""The first with dense packing, which is what we write."""

_FP8 = get("FP8_E4M3")


def _refuse_packed(scheme: Scheme, rows: int, columns: int) -> str | None:
    del rows
    if scheme.kind is not Kind.INTEGER:
        return f"pack-quantized holds integers of 2 to 8 bits, not {scheme.label}"
    if scheme.group_size and columns % scheme.group_size:
        return f"{columns} columns are no whole groups of {scheme.group_size}"
    return None


def _refuse_int(scheme: Scheme, rows: int, columns: int) -> str | None:
    del rows, columns
    if scheme.kind is not Kind.INTEGER or scheme.bits != 8 or not scheme.symmetric or scheme.group_size:
        return f"int-quantized (W8A8) wants symmetric 8-bit integers with one scale per row, not {scheme.label}"
    return None


def _refuse_float(scheme: Scheme, rows: int, columns: int) -> str | None:
    del rows, columns
    return None if scheme.kind is Kind.FLOAT8 else f"float-quantized holds FP8 numbers, not {scheme.label}"


def _pack(codes: Codes) -> tuple[PackedTensor, ...]:
    assert isinstance(codes, IntegerCodes)
    zero_points = () if codes.symmetric else (packed("weight_zero_point", _pack_down(codes)),)
    return (
        packed("weight_packed", pack_bits(codes.codes, codes.bits).view(np.int32)),
        packed_scale("weight_scale", codes.scale),
        *zero_points,
        packed("weight_shape", np.array(codes.codes.shape, np.int64)),
    )


def _pack_down(codes: IntegerCodes) -> NDArray[np.int32]:
    return np.ascontiguousarray(pack_bits(np.ascontiguousarray(codes.zero_point.T), codes.bits).T).view(np.int32)


def _pack_int(codes: Codes) -> tuple[PackedTensor, ...]:
    assert isinstance(codes, IntegerCodes)
    return packed("weight", (codes.codes ^ np.uint8(128)).view(np.int8)), packed("weight_scale", codes.scale)


def _pack_float(codes: Codes) -> tuple[PackedTensor, ...]:
    assert isinstance(codes, Float8Codes)
    scale = codes.scale.astype(np.float32)
    scales = [packed("weight_scale", scale.reshape(1) if scale.size == 1 else scale)]
    if codes.input_scale is not None:
        scales.append(packed("input_scale", np.array([codes.input_scale], np.float32)))
    return packed("weight", codes.codes, _FP8), *scales


def configuration(inventory: Inventory, integers: str) -> dict[str, Any]:
    """`quantization_config`: one group for every scheme; a single one takes all Linear layers but the ignored."""
    schemes = list(dict.fromkeys(inventory.schemes.values()))
    groups = {}
    for number, scheme in enumerate(schemes):
        members = [name for name, other in inventory.schemes.items() if other == scheme]
        groups[f"group_{number}"] = _group(scheme, ["Linear"] if len(schemes) == 1 else members, integers)
    formats = {group["format"] for group in groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "version": _VERSION,
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "ignore": list(inventory.plain),
        "kv_cache_scheme": None,
        "config_groups": groups,
    }


def _group(scheme: Scheme, targets: Sequence[str], integers: str) -> dict[str, Any]:
    format, inputs = integers, None
    if scheme.kind is Kind.FLOAT8:
        format = FLOAT
        inputs = _arguments("float", 8, "tensor" if scheme.static_input else "token", dynamic=not scheme.static_input)
        weights = _arguments("float", 8, "tensor" if scheme.per_tensor else "channel")
    else:
        strategy = "group" if scheme.group_size else "channel"
        weights = _arguments("int", scheme.bits, strategy, group=scheme.group_size, symmetric=scheme.symmetric)
        if integers == INT:
            inputs = _arguments("int", 8, "token", dynamic=True)
    return {
        "targets": list(targets),
        "weights": weights,
        "input_activations": inputs,
        "output_activations": None,
        "format": format,
    }


def _arguments(
    type: str, bits: int, strategy: str, *, group: int | None = None, symmetric: bool = True, dynamic: bool = False
) -> dict[str, Any]:
    return {
        "num_bits": bits,
        "type": type,
        "symmetric": symmetric,
        "strategy": strategy,
        "group_size": group,
        "block_structure": None,
        "dynamic": dynamic,
        "actorder": None,
        "observer": None if dynamic else "minmax",
        "observer_kwargs": {},
    }


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """Quantized modules of all three formats; which group a module is of shows in its tensors, not in its name."""
    if configuration.get("transform_config"):
        raise UnsupportedModel("quantization_config has a transform_config: rotations at run time are not read here")
    scales = [name.removesuffix(".weight_scale") for name in stored if name.endswith(".weight_scale")]
    return [find_module(stored, name, configuration) for name in scales]


def _layout(name: str, summary: str, refusal: Refusal, pack: Pack) -> Layout:
    return Layout(
        name=name,
        summary=f"compressed-tensors, {summary}",
        refusal=refusal,
        pack=pack,
        configuration=partial(configuration, integers=INT if name == INT else PACK),
        modules=modules,
        source="compressed-tensors compressors/",
    )


PACK_QUANTIZED = _layout(PACK, "packed integers of 2 to 8 bits, symmetric or not", _refuse_packed, _pack)
INT_QUANTIZED = _layout(INT, "W8A8: 8-bit integers, activations too, token by token", _refuse_int, _pack_int)
FLOAT_QUANTIZED = _layout(FLOAT, "FP8, activations too, token by token or static", _refuse_float, _pack_float)
