"""Write GGUF files, byte for byte as llama.cpp lays them out; one file, or parts of a bounded size.

Source: llama.cpp ggml/src/gguf.cpp (`gguf_write_out`), tools/gguf-split/gguf-split.cpp (`split_strategy`), b11549.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from struct import pack

import numpy as np

from pennyweight.containers.gguf import (
    ALIGNMENT_KEY,
    DEFAULT_ALIGNMENT,
    LENGTH,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    NUMBERS,
    SPLIT_COUNT,
    SPLIT_KEYS,
    SPLIT_NO,
    SPLIT_TENSORS,
    VERSION,
    GGUFValue,
    StringArray,
    ValueType,
    encode_text,
    integer,
    shard_path,
)
from pennyweight.containers.tensor import TensorInfo
from pennyweight.containers.tensor_writer import FileLayout, TensorWriter
from pennyweight.core.errors import FormatError

Metadata = Mapping[str, GGUFValue]


class GGUFWriter(TensorWriter):
    """A GGUF model being written; see `TensorWriter` for how, and what a kill leaves behind."""

    def __init__(
        self,
        path: str | Path,
        metadata: Metadata,
        tensors: Sequence[TensorInfo],
        *,
        split_max_size: int | None = None,
        sources: Iterable[Path] = (),
    ) -> None:
        """Lay out the file and create it beside `path`.

        Args:
            path: the file; with more than one part, `NAME.gguf` becomes `NAME-00001-of-00003.gguf` and so on.
            metadata: written in this order.
            tensors: written in this order.
            split_max_size: bytes of tensors after which a new part begins (a larger tensor gets its own); None for one
                file. A model that fits into one part is written as an ordinary file.
            sources: files being read, which must not be overwritten.

        Raises:
            OutputError: see `TensorWriter`.
            FormatError: a tensor that GGUF cannot hold.
        """
        super().__init__(_layouts(Path(path), metadata, tensors, split_max_size), sources)

    @staticmethod
    def size_of(metadata: Metadata, tensors: Sequence[TensorInfo], *, split_max_size: int | None = None) -> int:
        """Bytes that would be written, headers and padding included. Raises: FormatError."""
        return sum(layout.nbytes for layout in _layouts(Path("any.gguf"), metadata, tensors, split_max_size))


def _layouts(
    path: Path, metadata: Metadata, tensors: Sequence[TensorInfo], split_max_size: int | None
) -> list[FileLayout]:
    _require_storable(tensors)
    parts = _parts(tensors, split_max_size) if split_max_size else [list(tensors)]
    if len(parts) == 1:
        return [_layout(path, metadata, parts[0])]
    prefix = path.with_suffix("") if path.suffix == ".gguf" else path
    own = {key: value for key, value in metadata.items() if key not in SPLIT_KEYS}
    return [
        _layout(
            shard_path(prefix, number, len(parts)),
            {**(own if number == 0 else {}), **_split_keys(number, len(parts), len(tensors))},
            part,
        )
        for number, part in enumerate(parts)
    ]


def _require_storable(tensors: Sequence[TensorInfo]) -> None:
    seen: set[str] = set()
    for info in tensors:
        length = len(encode_text(info.name))
        if not 0 < length <= MAX_NAME_BYTES:
            raise FormatError(f"{info.name!r} has {length} bytes; a tensor's name in GGUF has 1 to {MAX_NAME_BYTES}")
        if info.name in seen:
            raise FormatError(f"two tensors are named {info.name}")
        if len(info.shape) > MAX_DIMENSIONS or 0 in info.shape:
            raise FormatError(f"{info.name} has shape {info.shape}; GGUF has 1 to {MAX_DIMENSIONS} axes, none empty")
        if info.format.ggml_type is None:
            raise FormatError(f"{info.name} is {info.format.name}, which GGUF cannot hold")
        seen.add(info.name)


def _parts(tensors: Sequence[TensorInfo], most_bytes: int) -> list[list[TensorInfo]]:
    """Tensors dealt out in order; like gguf-split, counts tensors padded to 32 and no header."""
    parts: list[list[TensorInfo]] = [[]]
    filled = 0
    for info in tensors:
        size = _padded(info.nbytes, DEFAULT_ALIGNMENT)
        if parts[-1] and filled + size > most_bytes:
            parts.append([])
            filled = 0
        parts[-1].append(info)
        filled += size
    return parts


def _split_keys(number: int, count: int, tensor_count: int) -> Metadata:
    """In gguf-split's order: it sets the count last, once it is known."""
    return {
        SPLIT_NO: GGUFValue.scalar(ValueType.UINT16, number),
        SPLIT_TENSORS: GGUFValue.scalar(ValueType.INT32, tensor_count),
        SPLIT_COUNT: GGUFValue.scalar(ValueType.UINT16, count),
    }


def _layout(path: Path, metadata: Metadata, tensors: Sequence[TensorInfo]) -> FileLayout:
    alignment = _alignment(metadata)  # of a split model the first part alone has the key: the others are padded to 32
    offsets, end = [], 0
    for info in tensors:
        offsets.append(end)
        end += _padded(info.nbytes, alignment)
    header = b"".join(_header_pieces(metadata, tensors, offsets))
    header += bytes(-len(header) % alignment)
    placed = tuple((info, len(header) + offset) for info, offset in zip(tensors, offsets, strict=True))
    return FileLayout(path=path, header=header, tensors=placed, nbytes=len(header) + end)


def _header_pieces(metadata: Metadata, tensors: Sequence[TensorInfo], offsets: Sequence[int]) -> Iterator[bytes]:
    yield MAGIC + pack("<Iqq", VERSION, len(tensors), len(metadata))
    for key, value in metadata.items():
        yield _string(key)
        yield from _value_pieces(value)
    for info, offset in zip(tensors, offsets, strict=True):
        ne = _extents(info.shape)
        yield _string(info.name) + pack(f"<I{len(ne)}qiQ", len(ne), *ne, info.format.ggml_type, offset)


def _extents(shape: tuple[int, ...]) -> tuple[int, ...]:
    """GGUF's `ne`: the row first, and, as ggml counts dimensions, without outer axes of length one."""
    outer = next((i for i, extent in enumerate(shape[:-1]) if extent != 1), max(0, len(shape) - 1))
    return tuple(reversed(shape[outer:])) or (1,)


def _value_pieces(value: GGUFValue) -> Iterator[bytes]:
    yield pack("<i", value.type)
    if value.item_type is not None:
        items = value.value
        assert isinstance(items, StringArray | np.ndarray)
        yield pack("<iQ", value.item_type, len(items))
        yield items.raw if isinstance(items, StringArray) else items.astype(NUMBERS[value.item_type]).tobytes()
    elif isinstance(value.value, str):
        yield _string(value.value)
    else:
        yield np.array(value.value, NUMBERS[value.type]).tobytes()


def _string(text: str) -> bytes:
    raw = encode_text(text)
    return LENGTH.pack(len(raw)) + raw


def _alignment(metadata: Metadata) -> int:
    if ALIGNMENT_KEY not in metadata:
        return DEFAULT_ALIGNMENT
    alignment = integer(metadata[ALIGNMENT_KEY])
    if not alignment or alignment.bit_count() != 1:
        raise FormatError(f"{ALIGNMENT_KEY} is {alignment}; a power of two is wanted")
    return alignment


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
