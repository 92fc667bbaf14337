"""Read a safetensors header: u64 length, JSON of that length, then the tensors' bytes without holes.

    {"__metadata__": {"format": "pt"}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …}

Nothing is executed and nothing is allocated before its size is checked. Source: the safetensors specification
(github.com/huggingface/safetensors, README "Format").
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from struct import unpack
from typing import Any, NoReturn

from pennyweight.containers.source import Source
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit
LENGTH_BYTES = 8
MAX_NAME_CHARACTERS = 512

BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of one number, by the file's own word for its type, in the order by which the reference library ranks them."""

OUR_NAMES = {"F8_E4M3": "FP8_E4M3", "F8_E5M2": "FP8_E5M2"}
"""Formats that the file calls otherwise than we do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What one file says of itself: free text metadata, and tensors in the order of their bytes."""

    metadata: Mapping[str, str]
    tensors: tuple[StoredTensor, ...]


def read_header(source: Source) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        FormatError: not a safetensors file, or one whose header contradicts itself or the file's size.
    """
    length = unpack("<Q", _read(source, 0, LENGTH_BYTES))[0]
    most = min(MAX_HEADER_BYTES, source.size - LENGTH_BYTES)
    if length > most:
        _fail(
            source, f"the header would take {length} bytes, at most {most} are possible; not a safetensors file, or cut"
        )
    entries = _parse(source, _read(source, LENGTH_BYTES, length))
    metadata = _metadata(source, entries.pop("__metadata__", {}))
    data_offset = LENGTH_BYTES + length
    tensors = sorted((_tensor(source, name, entry, data_offset) for name, entry in entries.items()), key=_place)
    _require_no_holes(source, tensors, data_offset)
    return Header(metadata=metadata, tensors=tuple(tensors))


def _fail(source: Source, message: str) -> NoReturn:
    raise FormatError(f"{source.name}: {message}")


def _read(source: Source, offset: int, count: int) -> bytes:
    if source.size < offset + count:
        _fail(source, f"{source.size} bytes are too few for a safetensors file")
    buffer = bytearray(count)
    if count:
        source.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def _parse(source: Source, raw: bytes) -> dict[str, Any]:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                _fail(source, f"{key[:MAX_NAME_CHARACTERS]!r} stands in the header twice")
            found[key] = value
        return found

    try:
        entries = json.loads(raw, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, endless digits, endless nesting
        _fail(source, f"the header is not JSON: {str(error).splitlines()[0]}")
    if not isinstance(entries, dict):
        _fail(source, "the header is not a JSON object")
    return entries


def _metadata(source: Source, found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _fail(source, "__metadata__ is not a map of strings")
    return found


def _tensor(source: Source, name: str, entry: Any, data_offset: int) -> StoredTensor:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        _fail(source, f"a tensor has the impossible name {name[:MAX_NAME_CHARACTERS]!r}")
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    if not isinstance(dtype, str) or not dtype.isprintable():
        _fail(source, f"tensor {name} has no dtype")
    shape, offsets = _integers(entry.get("shape")), _integers(entry.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        _fail(source, f"tensor {name} needs a shape and data_offsets [begin, end], lists of natural numbers")
    begin, end = offsets
    return StoredTensor(
        name=name,
        shape=shape,
        format=OUR_NAMES.get(dtype, dtype),
        row_bytes=_row_bytes(source, name, dtype, shape, end - begin),
        offset=data_offset + begin,
        nbytes=end - begin,
        source=source,
    )


def _integers(found: Any) -> tuple[int, ...] | None:
    """A list of at most 64 natural numbers below 2^63, else None. (JSON's true is an int in Python, not here.)"""
    if not isinstance(found, list) or len(found) > 64:
        return None
    return tuple(found) if all(type(value) is int and 0 <= value < 1 << 63 for value in found) else None


def _row_bytes(source: Source, name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> int | None:
    """Bytes of a row; None for a dtype we do not know, so that the other tensors of such a file can still be read."""
    if dtype not in BITS:
        return None
    columns = shape[-1] if shape else 1
    bits = columns * BITS[dtype]
    if bits % 8 or prod(shape[:-1]) * bits // 8 != nbytes:
        _fail(
            source,
            f"tensor {name}: {dtype} of shape {shape} takes {prod(shape) * BITS[dtype]} bits, not {nbytes} bytes",
        )
    return bits // 8


def _place(tensor: StoredTensor) -> tuple[int, int]:
    return tensor.offset, tensor.nbytes


def _require_no_holes(source: Source, tensors: list[StoredTensor], data_offset: int) -> None:
    end = data_offset
    for tensor in tensors:
        if tensor.offset != end:
            kind = "overlaps the one before" if tensor.offset < end else "leaves a hole"
            _fail(source, f"tensor {tensor.name} begins at byte {tensor.offset}, wanted {end}: it {kind}")
        end += tensor.nbytes
    if end != source.size:
        _fail(source, f"the tensors end at byte {end}, but the file has {source.size}; was it cut short?")
