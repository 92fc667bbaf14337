"""One module of a compressed-tensors file, whichever format it is in, its tensors checked against each other.

`config_groups` names modules by class or regular expression. A stranger's expression is not run here: of the groups,
the one that the module's own tensors bear out is taken; a module that several would explain differently is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.checkpoints.stored import SCALE_FORMATS, integers, numbers, part, require_shape
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.formats.codes import Float8Codes, IntegerCodes
from pennyweight.formats.dense_bits import WORD_BITS, unpack_bits, words_of

PACK, INT, FLOAT = "pack-quantized", "int-quantized", "float-quantized"
_MAX_GROUPS = 4096


def find_module(stored: Mapping[str, StoredTensor], name: str, configuration: Mapping[str, Any]) -> PackedModule:
    """The module of that name. Raises: FormatError, UnsupportedModel."""
    if f"{name}.weight_packed" in stored:
        return _packed_module(stored, name, configuration)
    weight, scale = stored.get(f"{name}.weight"), part(stored, name, "weight_scale", SCALE_FORMATS, _axes(stored, name))
    if weight is None or weight.format not in ("I8", "FP8_E4M3") or len(weight.shape) != 2:
        raise UnsupportedModel(
            f"{name} has a weight_scale but no packed, I8 or F8_E4M3 weight; read here are {PACK}, {INT} and {FLOAT}"
        )
    if f"{name}.weight_zero_point" in stored:
        raise UnsupportedModel(f"{name} has zero points beside 8-bit weights, which are not read here")
    rows, _ = weight.shape
    return (_int_module if weight.format == "I8" else _float_module)(stored, name, weight, scale, rows)


def _axes(stored: Mapping[str, StoredTensor], name: str) -> int:
    return len(stored[f"{name}.weight_scale"].shape)


def _packed_module(stored: Mapping[str, StoredTensor], name: str, configuration: Mapping[str, Any]) -> PackedModule:
    if f"{name}.weight_g_idx" in stored:
        raise UnsupportedModel(
            f"{name} has its columns grouped in act-order (weight_g_idx), which no runtime reads now"
        )
    words = part(stored, name, "weight_packed", ("I32",))
    scale = part(stored, name, "weight_scale", SCALE_FORMATS)
    shape = part(stored, name, "weight_shape", ("I64", "I32"), 1)
    require_shape(shape, (2,))
    rows, columns = (int(n) for n in integers(shape, "<i8" if shape.format == "I64" else "<i4")[0])
    if rows != words.shape[0] or scale.shape[0] != rows or not 1 <= columns <= words.shape[1] * WORD_BITS:
        raise FormatError(
            f"{name}: weight_shape is ({rows}, {columns}), weight_packed {words.shape}, weight_scale {scale.shape}; "
            "they contradict each other"
        )
    zero_points = stored.get(f"{name}.weight_zero_point")
    scheme = _scheme(configuration, words, scale, columns, zero_points is not None)
    if zero_points is not None:
        zero_points = part(stored, name, "weight_zero_point", ("I32",))
        require_shape(zero_points, (words_of(rows, scheme.bits), scale.shape[1]))
    read = partial(_packed_codes, scheme, columns, words, scale, zero_points)
    tensors = (words, scale, shape, *([zero_points] if zero_points else []))
    return _module(name, scheme, (rows, columns), tensors, read)


def _scheme(
    configuration: Mapping[str, Any], words: StoredTensor, scale: StoredTensor, columns: int, zero_points: bool
) -> Scheme:
    """Of the groups' schemes, the one that fits. Raises: FormatError for none, UnsupportedModel for several."""
    fitting: set[Scheme] = set()
    padded = False
    for bits, group_size in _stated(configuration):
        groups = -(-columns // group_size) if group_size else 1
        padded |= words.shape[1] == -(-columns // (WORD_BITS // bits)) and words.shape[1] != words_of(columns, bits)
        if words.shape[1] == words_of(columns, bits) and scale.shape[1] == groups:
            whole_row = not group_size or group_size >= columns
            size = None if whole_row else group_size
            fitting.add(Scheme(kind=Kind.INTEGER, bits=bits, group_size=size, symmetric=not zero_points))
    if len(fitting) == 1:
        return fitting.pop()
    if padded and not fitting:
        raise UnsupportedModel(
            f"{words.name} is padded to whole codes a word, as compressed-tensors packed 3, 5, 6 and 7 bits before "
            "0.17; write it again with a newer version"
        )
    what = "no group of quantization_config fits" if not fitting else "several groups of quantization_config fit"
    raise (UnsupportedModel if fitting else FormatError)(
        f"{what} {words.name}: {words.shape} words and {scale.shape} scales for {columns} columns"
    )


def _stated(configuration: Mapping[str, Any]) -> Iterator[tuple[int, int | None]]:
    """(bits, group size) of each group's weights, as far as they are integers."""
    groups = configuration.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) > _MAX_GROUPS:
        raise FormatError("quantization_config has no config_groups")
    for group in groups.values():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping) or weights.get("type", "int") != "int":
            continue
        bits, size = weights.get("num_bits"), weights.get("group_size")
        if not isinstance(bits, int) or not 2 <= bits <= 8:
            raise UnsupportedModel(f"quantization_config: num_bits is {bits!r}; 2 to 8 are read here")
        if size is not None and (not isinstance(size, int) or not (size == -1 or 1 <= size < 1 << 31)):
            raise FormatError(f"quantization_config: group_size is {size!r}")
        yield bits, None if size in (None, -1) or weights.get("strategy") == "channel" else size


def _packed_codes(
    scheme: Scheme,
    columns: int,
    words: StoredTensor,
    scale: StoredTensor,
    zero_points: StoredTensor | None,
    start: int,
    stop: int,
) -> IntegerCodes:
    bits, scales = scheme.bits, numbers(scale, start, stop)
    zeros = np.full(scales.shape, 1 << (bits - 1), np.uint8)
    if zero_points is not None:
        first = start // WORD_BITS  # so many rows' zero points begin with a word, whatever the bits
        last = min(zero_points.row_count, words_of(stop - first * WORD_BITS, bits) + first * bits)
        stored = np.ascontiguousarray(integers(zero_points, "<u4", first * bits, last).T)
        zeros = unpack_bits(stored, bits, stop - first * WORD_BITS)[:, start - first * WORD_BITS :].T
    return IntegerCodes(
        bits=bits,
        group_size=scheme.group_size or columns,
        symmetric=scheme.symmetric,
        codes=unpack_bits(integers(words, "<u4", start, stop), bits, columns),
        scale=scales,
        zero_point=np.ascontiguousarray(zeros),
    )


def _int_module(
    stored: Mapping[str, StoredTensor], name: str, weight: StoredTensor, scale: StoredTensor, rows: int
) -> PackedModule:
    del stored
    require_shape(scale, (rows, 1))
    columns = weight.shape[1]

    def codes(start: int, stop: int) -> IntegerCodes:
        scales = numbers(scale, start, stop)
        return IntegerCodes(
            bits=8,
            group_size=columns,
            symmetric=True,
            codes=integers(weight, "u1", start, stop) ^ np.uint8(128),
            scale=scales,
            zero_point=np.full(scales.shape, 128, np.uint8),
        )

    return _module(name, Scheme(kind=Kind.INTEGER, bits=8), weight.shape, (weight, scale), codes)


def _float_module(
    stored: Mapping[str, StoredTensor], name: str, weight: StoredTensor, scale: StoredTensor, rows: int
) -> PackedModule:
    require_shape(scale, (rows, 1), (1,), (1, 1), ())
    per_tensor = scale.shape != (rows, 1)
    inputs = stored.get(f"{name}.input_scale")
    if inputs is not None:
        inputs = part(stored, name, "input_scale", SCALE_FORMATS, len(inputs.shape))
        require_shape(inputs, (1,), (), (1, 1))
    scheme = Scheme(kind=Kind.FLOAT8, bits=8, per_tensor=per_tensor, static_input=inputs is not None)

    def codes(start: int, stop: int) -> Float8Codes:
        return Float8Codes(
            format="FP8_E4M3",
            codes=weight.rows(start, stop),
            scale=numbers(scale) if per_tensor else numbers(scale, start, stop),
            input_scale=None if inputs is None else _input_scale(inputs),
        )

    module = _module(name, scheme, weight.shape, (weight, scale, *([inputs] if inputs else [])), codes)
    return module if inputs is None else replace(module, input_scale=partial(_input_scale, inputs))


def _input_scale(stored: StoredTensor) -> float:
    return float(numbers(stored)[0, 0])


def _module(name: str, scheme: Scheme, shape: Any, tensors: tuple[StoredTensor, ...], codes: Any) -> PackedModule:
    def read_rows(start: int, stop: int) -> NDArray[np.float32]:
        found: Codes = codes(start, stop)
        return found.decode()

    return PackedModule(name=name, scheme=scheme, shape=shape, tensors=tensors, codes=codes, read_rows=read_rows)
