"""GGUF's data model: typed metadata values, so that what is read can be written again byte for byte.

    "GGUF" · u32 version · i64 tensors · i64 keys
    key:    string · i32 type · value          string: u64 length, bytes      array: i32 item type · u64 count · items
    tensor: string · u32 dimensions · i64 ne[] (the row first) · i32 ggml type · u64 offset into the data
    zeros up to a multiple of `general.alignment` (32), then the tensors, each padded to that multiple

Everything is little-endian. Source: llama.cpp ggml/include/gguf.h.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import overload

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 63  # ggml keeps names in 64 bytes, the last of them zero

ALIGNMENT_KEY = "general.alignment"
SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
SPLIT_KEYS = (SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS)

LENGTH = Struct("<Q")


class ValueType(IntEnum):
    """Types of metadata values, with their ids in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBERS = {
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT8: np.dtype("i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("?"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}
"""How each number lies in the file; a truth value is one byte, 0 or 1."""


def decode_text(raw: bytes) -> str:
    """A string of a file → str; bytes that are not UTF-8 become lone surrogates, which `encode_text` turns back."""
    return raw.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """The inverse of `decode_text`."""
    return text.encode("utf-8", "surrogateescape")


class StringArray(Sequence[str]):
    """An array of strings, kept as the file's own bytes: a vocabulary of 150,000 tokens costs no 150,000 objects.

    Attributes:
        raw: the strings as they lie in the file, each behind its u64 length.
        ends: int64 (count,), where each string ends in `raw`.
    """

    __slots__ = ("ends", "raw")

    def __init__(self, raw: bytes, ends: NDArray[np.int64]) -> None:
        self.raw = raw
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> "StringArray":
        """Pack strings as a file would hold them."""
        pieces, ends, end = [], array("q"), 0
        for piece in map(encode_text, strings):
            pieces += (LENGTH.pack(len(piece)), piece)
            end += LENGTH.size + len(piece)
            ends.append(end)
        return cls(b"".join(pieces), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]  # negative indices, and IndexError past the end
        start = int(self.ends[position - 1]) if position else 0
        return decode_text(self.raw[start + LENGTH.size : int(self.ends[position])])

    def __iter__(self) -> Iterator[str]:
        start = LENGTH.size
        for end in self.ends.tolist():
            yield decode_text(self.raw[start:end])
            start = end + LENGTH.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StringArray) and self.raw == other.raw

    __hash__ = None  # type: ignore[assignment] -- compared by content, like a list

    def __repr__(self) -> str:
        return f"StringArray({len(self)} strings, {len(self.raw)} bytes)"


Scalar = int | float | bool | str
Items = NDArray[np.generic] | StringArray


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFValue:
    """One metadata value with the type it has in the file. Make one by `scalar` or `array`.

    Attributes:
        type: type in the file.
        value: int, float, bool or str; for an array, NumPy (count,) of the item type, or a `StringArray`.
        item_type: type of an array's items, None otherwise.
    """

    type: ValueType
    value: Scalar | Items
    item_type: ValueType | None = None

    @classmethod
    def scalar(cls, type: ValueType, value: Scalar) -> "GGUFValue":
        """One number, truth value or string. Raises: ValueError where the number does not fit the type."""
        if isinstance(value, str) != (type is ValueType.STRING):
            raise TypeError(f"{value!r} is no {type.name}")
        return cls(type=type, value=value if isinstance(value, str) else _numbers([value], NUMBERS[type])[0].item())

    @classmethod
    def array(cls, item_type: ValueType, items: Iterable[Scalar] | NDArray) -> "GGUFValue":
        """An array of numbers or strings. Raises: ValueError where a number does not fit the type."""
        if item_type is ValueType.STRING:
            value: Items = items if isinstance(items, StringArray) else StringArray.of(items)  # type: ignore[arg-type]
        else:
            value = _numbers(items, NUMBERS[item_type])
        return cls(type=ValueType.ARRAY, value=value, item_type=item_type)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GGUFValue) or (self.type, self.item_type) != (other.type, other.item_type):
            return False
        if isinstance(self.value, np.ndarray):
            return np.array_equal(self.value, np.asarray(other.value))
        return self.value == other.value


def _numbers(items: Iterable[object] | NDArray, dtype: np.dtype) -> NDArray:
    """Numbers as a file holds them; a fraction, or a number too large, is never bent to fit an integer type."""
    found = items if isinstance(items, np.ndarray) else np.array(list(items))
    packed = found.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(packed, found):
        raise ValueError(f"{found} cannot be stored as {dtype}")
    return packed


def shard_path(prefix: str | Path, number: int, count: int) -> Path:
    """The name llama.cpp gives part `number` (from 0) of `count`."""
    return Path(f"{prefix}-{number + 1:05d}-of-{count:05d}.gguf")


def integer(metadata_value: GGUFValue | None) -> int | None:
    """The value where it is an integer (of any width; a truth value is none), else None."""
    value = metadata_value.value if metadata_value else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
