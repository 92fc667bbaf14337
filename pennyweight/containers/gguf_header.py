"""Read a GGUF header that may have been made to harm: every count and length is checked before anything is allocated.

`read_header` works on any `Source`, so the header of a file that is still on a server can be read by a few ranges.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from pennyweight.containers.cursor import I32, I64, U32, Cursor
from pennyweight.containers.gguf import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    LENGTH,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    NUMBERS,
    VERSION,
    GGUFValue,
    Items,
    ValueType,
    decode_text,
)
from pennyweight.containers.source import Source
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError
from pennyweight.formats import by_ggml_type

MAX_KEY_BYTES = 65_535  # the specification's limit
MAX_KEYS, MAX_TENSORS = 1 << 16, 1 << 18
"""Real models have about 50 and at most some thousands."""
SMALLEST_KEY_BYTES, SMALLEST_TENSOR_BYTES = 14, 25
"""What a key and a tensor take at least: bounds how many of them the rest of a file can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a GGUF file says of itself: metadata in file order, tensors as listed, where the data begin."""

    version: int
    alignment: int
    metadata: Mapping[str, GGUFValue]
    tensors: tuple[StoredTensor, ...]
    data_offset: int


def read_header(source: Source) -> Header:
    """Read and check the header of a GGUF file.

    Raises:
        FormatError: not a GGUF file of version 2 or 3, or one whose header contradicts itself or the file's size.
    """
    cursor = Cursor(source)
    version = _read_version(cursor)
    tensor_count, key_count = cursor.count("tensors", MAX_TENSORS), cursor.count("keys", MAX_KEYS)
    cursor.require_room(
        key_count * SMALLEST_KEY_BYTES + tensor_count * SMALLEST_TENSOR_BYTES,
        f"{key_count} keys and {tensor_count} tensors",
    )
    metadata: dict[str, GGUFValue] = {}
    for index in range(key_count):
        key = cursor.name(f"key {index}", MAX_KEY_BYTES)
        if key in metadata:
            raise cursor.error(f"key {key!r} stands there twice")
        metadata[key] = _read_value(cursor, key)
    alignment = _alignment(cursor, metadata)
    entries = [_read_entry(cursor, index) for index in range(tensor_count)]
    data_offset = -(-cursor.position // alignment) * alignment
    tensors = _place(source, entries, data_offset, alignment)
    return Header(version=version, alignment=alignment, metadata=metadata, tensors=tensors, data_offset=data_offset)


def _read_version(cursor: Cursor) -> int:
    magic = cursor.take(len(MAGIC), "the magic")
    if magic != MAGIC:
        raise cursor.error(f"not a GGUF file: it begins with {magic!r}, wanted {MAGIC!r}")
    version = cursor.number(U32, "the version")
    if version and not version & 0xFFFF:
        raise cursor.error("a big-endian GGUF file; only little-endian ones are read")
    if version not in (2, VERSION):
        raise cursor.error(f"GGUF version {version}; versions 2 and {VERSION} are read, convert the model again")
    return version


def _read_value(cursor: Cursor, key: str) -> GGUFValue:
    what = f"the value of {key!r}"
    value_type = cursor.value_type(key)
    if value_type is ValueType.ARRAY:
        item_type = cursor.value_type(key)
        return GGUFValue(type=value_type, value=_read_items(cursor, item_type, what), item_type=item_type)
    if value_type is ValueType.STRING:
        return GGUFValue(type=value_type, value=decode_text(cursor.string(what)))
    return GGUFValue(type=value_type, value=_numbers(cursor, value_type, 1, what)[0].item())


def _read_items(cursor: Cursor, item_type: ValueType, what: str) -> Items:
    count = cursor.number(LENGTH, f"the length of {what}")
    if item_type is ValueType.ARRAY:  # ggml refuses them too, and no known key has one
        raise cursor.error(f"{what} is an array of arrays, which GGUF readers do not accept")
    return cursor.strings(count, what) if item_type is ValueType.STRING else _numbers(cursor, item_type, count, what)


def _numbers(cursor: Cursor, item_type: ValueType, count: int, what: str) -> np.ndarray:
    dtype = NUMBERS[item_type]
    raw = cursor.take(count * dtype.itemsize, what)
    # Any byte but 0 is true, as in ggml; NumPy's own bool would keep a 2 as it is.
    return np.frombuffer(raw, np.uint8) != 0 if item_type is ValueType.BOOL else np.frombuffer(raw, dtype)


def _alignment(cursor: Cursor, metadata: Mapping[str, GGUFValue]) -> int:
    found = metadata.get(ALIGNMENT_KEY, GGUFValue(type=ValueType.UINT32, value=DEFAULT_ALIGNMENT))
    if found.type is not ValueType.UINT32 or not isinstance(found.value, int) or found.value.bit_count() != 1:
        shown = found.value if isinstance(found.value, int) else "no number"
        raise cursor.error(f"{ALIGNMENT_KEY} must be a power of two (UINT32), found {shown} ({found.type.name})")
    return found.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One tensor as listed; its offset counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    offset: int


def _read_entry(cursor: Cursor, index: int) -> _Entry:
    name = cursor.name(f"tensor {index}", MAX_NAME_BYTES)
    what = f"the entry of tensor {name}"
    dimensions = cursor.number(U32, what)
    if dimensions > MAX_DIMENSIONS:
        raise cursor.error(f"tensor {name} has {dimensions} dimensions; {MAX_DIMENSIONS} are the most")
    ne = [cursor.number(I64, what) for _ in range(dimensions)]
    if any(extent < 1 for extent in ne) or prod(ne) >= 1 << 63:
        raise cursor.error(f"tensor {name} has the impossible shape {tuple(reversed(ne))}")
    ggml_type, offset = cursor.number(I32, what), cursor.number(LENGTH, what)
    return _Entry(name=name, shape=tuple(reversed(ne)), ggml_type=ggml_type, offset=offset)


def _place(source: Source, entries: list[_Entry], data_offset: int, alignment: int) -> tuple[StoredTensor, ...]:
    """Give every tensor its bytes in the file; check that they are aligned, inside the file, and nobody else's."""
    room = source.size - data_offset
    following = dict(pairwise([*sorted(entry.offset for entry in entries), room]))
    tensors: dict[str, StoredTensor] = {}
    for entry in entries:
        if entry.name in tensors:
            raise FormatError(f"{source.name}: tensor {entry.name} stands there twice")
        if entry.offset % alignment:
            raise FormatError(
                f"{source.name}: tensor {entry.name} begins at {entry.offset}, alignment {alignment} is said"
            )
        tensors[entry.name] = _place_one(source, entry, data_offset, following[entry.offset])
    _require_apart(source, tensors.values())
    return tuple(tensors.values())


def _place_one(source: Source, entry: _Entry, data_offset: int, following: int) -> StoredTensor:
    """The tensor of `entry`; one of unknown size has the bytes up to the `following` tensor."""
    row_bytes = _row_bytes(source, entry)
    nbytes = following - entry.offset if row_bytes is None else prod(entry.shape[:-1]) * row_bytes
    begin = data_offset + entry.offset
    if nbytes < 0 or begin + nbytes > source.size:
        raise FormatError(
            f"{source.name}: tensor {entry.name} has {nbytes} bytes from byte {begin}, "
            f"but the file has {source.size}; was it cut short?"
        )
    return StoredTensor(
        name=entry.name,
        shape=entry.shape,
        format=_format_name(entry.ggml_type),
        row_bytes=row_bytes,
        offset=begin,
        nbytes=nbytes,
        source=source,
    )


def _require_apart(source: Source, tensors: Iterable[StoredTensor]) -> None:
    for first, second in pairwise(sorted(tensors, key=lambda tensor: tensor.offset)):
        if first.offset + first.nbytes > second.offset:
            raise FormatError(f"{source.name}: tensors {first.name} and {second.name} overlap at byte {second.offset}")


def _format_name(ggml_type: int) -> str:
    known = by_ggml_type(ggml_type)
    return known.name if known else f"type {ggml_type}"


def _row_bytes(source: Source, entry: _Entry) -> int | None:
    """Bytes of a row; None for a type we do not know, so that a file newer than this program can still be inspected."""
    known = by_ggml_type(entry.ggml_type)
    if known is None:
        return None
    columns = entry.shape[-1] if entry.shape else 1
    if columns % known.block_size:
        raise FormatError(
            f"{source.name}: tensor {entry.name} of shape {entry.shape} cannot be {known.name}: "
            f"its rows are not multiples of {known.block_size} weights"
        )
    return known.row_bytes(columns)
