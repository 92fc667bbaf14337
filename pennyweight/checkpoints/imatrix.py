"""Importance matrices: how strongly each input column of each weight matrix was driven, in llama.cpp's two formats.

For a weight matrix with inputs x (one row per token), column j weighs  mean over tokens of x_j².  A file keeps the sum
and the count, so that collections can be merged:

    GGUF: general.type = "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; for each weight tensor
          NAME.in_sum2 F32 [columns, matrices] and NAME.counts F32 [1, matrices] (matrices: the experts of a layer)
    .dat: i32 entries; each i32 length, name, i32 calls, i32 values, f32 mean·calls;
          then i32 chunks, i32 length, dataset

Source: llama.cpp tools/imatrix/imatrix.cpp `save_imatrix`, `save_imatrix_legacy`; tools/quantize/quantize.cpp
`load_imatrix`; common/imatrix-loader.cpp.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.base import LazyTensor
from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.gguf import MAGIC, GGUFValue, StringArray, ValueType, integer
from pennyweight.containers.gguf_reader import GGUFFile, open_gguf
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.source import FileSource
from pennyweight.containers.tensor import StoredTensor, TensorInfo
from pennyweight.core.errors import BadRequest, FormatError

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
MAX_ENTRY_NAME = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ImatrixEntry:
    """What one weight tensor saw.

    Attributes:
        sums: float32 (matrices, columns), Σ over tokens of x².
        counts: float32 (matrices,), tokens that each matrix saw; 0 for an expert that none was sent to.
    """

    sums: NDArray[np.float32]
    counts: NDArray[np.float32]

    def mean(self) -> NDArray[np.float32]:
        """Mean x², float32 (matrices, columns); 1 throughout for a matrix that saw nothing, as in llama-quantize."""
        counts = self.counts[:, None]
        return np.where(counts > 0, self.sums / np.where(counts > 0, counts, 1), np.float32(1)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imatrix:
    """An importance matrix: entries by the weight tensor's name.

    Attributes:
        datasets: the texts it was collected on, as named then.
        chunk_count: chunks of text seen.
        chunk_size: tokens of a chunk; 0 where the file does not say (.dat).
        source: the file it was read from, for messages.
    """

    entries: Mapping[str, ImatrixEntry]
    datasets: tuple[str, ...]
    chunk_count: int
    chunk_size: int
    source: str

    def require_model(self, names: Iterable[str]) -> None:
        """Raises: BadRequest where most entries name tensors that are not among `names`: another model's matrix."""
        absent = sorted(self.entries.keys() - set(names))
        if 2 * len(absent) > len(self.entries):
            raise BadRequest(
                f"{self.source} is the importance matrix of another model: {len(absent)} of its {len(self.entries)} "
                f"entries name tensors that are not here ({absent[0]} …)"
            )

    def importance(self, tensor: LazyTensor) -> NDArray[np.float32] | None:
        """float32 (matrices, columns) for `tensor`; None where the file has nothing on it.

        Raises: BadRequest where the entry has another size: the importance matrix of another model.
        """
        entry = self.entries.get(tensor.name)
        if entry is None:
            return None
        matrices = tensor.rows // tensor.shape[-2]
        if entry.sums.size != matrices * tensor.columns:
            if tensor.name == "token_embd.weight":
                return None  # a lookup, not a product: what some files hold for it has another meaning and size
            raise BadRequest(
                f"{self.source} has {entry.sums.size} values for {tensor.name}, the model needs {matrices} × "
                f"{tensor.columns}: it is the importance matrix of another model"
            )
        return entry.mean().reshape(matrices, tensor.columns)


def read_imatrix(path: Path) -> Imatrix:
    """Read an importance matrix in either format, told apart by the first four bytes.

    Raises:
        BadRequest: no such file.
        FormatError: not an importance matrix, or it holds NaN, infinity or a negative sum.
    """
    imatrix = _read_gguf(path) if _magic(path) == MAGIC else _read_dat(path)
    for name, entry in imatrix.entries.items():
        if not (np.isfinite(entry.sums).all() and np.isfinite(entry.counts).all() and (entry.sums >= 0).all()):
            raise FormatError(f"{path}: the entry of {name} holds NaN, infinity or a negative sum; collect it anew")
    return imatrix


def write_imatrix(imatrix: Imatrix, path: Path) -> None:
    """Write `imatrix`: GGUF, or the older format where the name ends in .dat; replaced whole or not at all."""
    _write_dat(imatrix, path) if path.suffix == ".dat" else _write_gguf(imatrix, path)


def _read_gguf(path: Path) -> Imatrix:
    file = open_gguf(path)
    kind = file.metadata.get("general.type")
    missing = [key for key in (DATASETS, CHUNK_COUNT, CHUNK_SIZE) if key not in file.metadata]
    if kind is None or kind.value != "imatrix" or missing:
        what = f"lacks {', '.join(missing)}" if missing else f"is of type {kind.value if kind else 'model'}"
        raise FormatError(f"{path} is no importance matrix: it {what}")
    entries = {}
    for name in (n.removesuffix(SUMS) for n in file.tensors if n.endswith(SUMS)):
        sums, counts = _floats(file, name + SUMS), _floats(file, name + COUNTS)
        if sums.shape[0] != counts.size:
            raise FormatError(f"{path}: {name} has sums of {sums.shape[0]} matrices and counts of {counts.size}")
        entries[name] = ImatrixEntry(sums=sums, counts=counts.reshape(-1))
    datasets = file.metadata[DATASETS].value
    return Imatrix(
        entries=entries,
        datasets=tuple(datasets) if isinstance(datasets, StringArray) else (),
        chunk_count=integer(file.metadata[CHUNK_COUNT]) or 0,
        chunk_size=integer(file.metadata[CHUNK_SIZE]) or 0,
        source=str(path),
    )


def _magic(path: Path) -> bytes:
    source, magic = FileSource(path), bytearray(len(MAGIC))
    if source.size >= len(magic):
        source.read_into(0, memoryview(magic))
    return bytes(magic)


def _floats(file: GGUFFile, name: str) -> NDArray[np.float32]:
    tensor: StoredTensor | None = file.tensors.get(name)
    if tensor is None or tensor.format != "F32":
        raise FormatError(f"{file.paths[0]}: {name} is {'missing' if tensor is None else tensor.format}, F32 is wanted")
    return tensor.rows(0, tensor.row_count).view(np.float32)


def _write_gguf(imatrix: Imatrix, path: Path) -> None:
    arrays = {
        name + suffix: array
        for name, entry in sorted(imatrix.entries.items())
        for suffix, array in ((SUMS, entry.sums), (COUNTS, entry.counts[:, None]))
    }
    f32 = formats.get("F32")
    infos = [TensorInfo(name=name, shape=array.shape, format=f32) for name, array in arrays.items()]
    metadata = {
        "general.type": GGUFValue.scalar(ValueType.STRING, "imatrix"),
        DATASETS: GGUFValue.array(ValueType.STRING, imatrix.datasets),
        CHUNK_COUNT: GGUFValue.scalar(ValueType.UINT32, imatrix.chunk_count),
        CHUNK_SIZE: GGUFValue.scalar(ValueType.UINT32, imatrix.chunk_size),
    }
    with GGUFWriter(path, metadata, infos) as writer:
        for name, array in arrays.items():
            writer.write_rows(name, 0, np.ascontiguousarray(array, np.float32).view(np.uint8))


def _read_dat(path: Path) -> Imatrix:
    # A few megabytes at most for any model; a stranger's 100 GB file is refused before it is read.
    if path.stat().st_size > 1 << 30:
        raise FormatError(
            f"{path} is {path.stat().st_size:,} bytes; no importance matrix in the older format is that large"
        )
    cursor = _Cursor(path.read_bytes(), path)
    entries = {}
    for _ in range(cursor.integer("count of entries", most=1 << 20)):
        name = cursor.take(cursor.integer("length of a name", most=MAX_ENTRY_NAME)).decode("utf-8", "replace")
        calls = max(1, cursor.integer("count of calls", most=1 << 31))
        values = np.frombuffer(cursor.take(4 * cursor.integer("count of values", most=1 << 28)), "<f4")
        # Stored is mean · calls, without the token count: as sums over `calls` observations its mean is the same.
        entries[name] = ImatrixEntry(sums=values[None], counts=np.array([calls], np.float32))
    chunks, dataset = 0, b""
    if cursor.left:  # the oldest files end here
        chunks = cursor.integer("count of chunks", most=1 << 31)
        dataset = cursor.take(cursor.integer("length of the dataset's name", most=MAX_ENTRY_NAME))
    return Imatrix(
        entries=entries,
        datasets=(dataset.decode("utf-8", "replace"),) if dataset else (),
        chunk_count=chunks,
        chunk_size=0,
        source=str(path),
    )


def _write_dat(imatrix: Imatrix, path: Path) -> None:
    chunk_size = max(1, imatrix.chunk_size)
    parts = [struct.pack("<i", len(imatrix.entries))]
    for name, entry in sorted(imatrix.entries.items()):
        calls = -(-int(entry.counts.max()) // chunk_size)  # rounded up, so that few tokens are still one call
        values = (entry.mean() * np.float32(calls)).astype("<f4")
        label = name.encode()
        parts += [struct.pack("<i", len(label)), label, struct.pack("<ii", calls, values.size), values.tobytes()]
    dataset = (imatrix.datasets[-1] if imatrix.datasets else "").encode()
    parts += [struct.pack("<ii", imatrix.chunk_count, len(dataset)), dataset]
    write_bytes(path, b"".join(parts))


class _Cursor:
    """Reads the older format front to back, and says where it stops making sense."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise FormatError(
                f"{self.path} is no importance matrix: byte {self.at} asks for {count}, {self.left} are left"
            )
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, what: str, *, most: int) -> int:
        (value,) = struct.unpack("<i", self.take(4))
        if not 0 <= value <= most:
            raise FormatError(f"{self.path} is no importance matrix: {what} is {value} at byte {self.at - 4}")
        return value
