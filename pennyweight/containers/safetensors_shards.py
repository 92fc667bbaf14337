"""A checkpoint's safetensors written as tensors come: shard after shard, and the index at the end.

    model.safetensors                                    where one shard is enough
    model-00001-of-00003.safetensors …                   where it is not, with
    model.safetensors.index.json                         {"metadata": {"total_size": …}, "weight_map": {name: shard}}

A safetensors file begins with the place of every tensor, so a shard's tensors are gathered before it is written: at
most `shard_bytes` and one more bundle are in memory.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.safetensors import INDEX, SINGLE
from pennyweight.containers.safetensors_writer import SafetensorsWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import FormatError
from pennyweight.core.units import GIB

SHARD_BYTES = GIB

Slabs = Iterable[tuple[str, int, NDArray[np.uint8]]]
"""(tensor name, first row, uint8 (rows, row_bytes))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Tensors that go into one shard together: what they are, and a function that gives their bytes, slab by slab."""

    infos: tuple[TensorInfo, ...]
    slabs: Callable[[], Slabs]

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(info.nbytes for info in self.infos)


class ShardWriter:
    """Writes into a directory that nobody reads yet (an `AtomicDirectory`'s)."""

    def __init__(self, directory: Path, metadata: Mapping[str, str], shard_bytes: int = SHARD_BYTES) -> None:
        self._directory, self._metadata, self._shard_bytes = directory, metadata, shard_bytes
        self._waiting: list[Bundle] = []
        self._shards: list[list[str]] = []
        self._seen: set[str] = set()
        self.total_bytes = 0

    def add(self, bundle: Bundle) -> None:
        """Take tensors; writes a shard whenever one is full. Raises: FormatError for a name twice, OutputError."""
        for info in bundle.infos:
            if info.name in self._seen:
                raise FormatError(f"two tensors are named {info.name}")
            self._seen.add(info.name)
        if self._waiting and self._waiting_bytes() + bundle.nbytes > self._shard_bytes:
            self._write_shard()
        self._waiting.append(bundle)
        self.total_bytes += bundle.nbytes

    def finish(self) -> None:
        """Write the last shard and the index, and give the shards their names. Raises: OutputError."""
        if self._waiting:
            self._write_shard()
        count = len(self._shards)
        if count == 1:
            self._path(0).rename(self._directory / SINGLE)
            return
        names = [f"model-{number + 1:05}-of-{count:05}.safetensors" for number in range(count)]
        for number, name in enumerate(names):
            self._path(number).rename(self._directory / name)
        weight_map = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
        index = {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        write_bytes(self._directory / INDEX, json.dumps(index, indent=2).encode())

    def _waiting_bytes(self) -> int:
        return sum(bundle.nbytes for bundle in self._waiting)

    def _write_shard(self) -> None:
        infos = [info for bundle in self._waiting for info in bundle.infos]
        with SafetensorsWriter(self._path(len(self._shards)), infos, metadata=self._metadata) as writer:
            for bundle in self._waiting:
                for name, start, rows in bundle.slabs():
                    writer.write_rows(name, start, rows)
        self._shards.append([info.name for info in infos])
        self._waiting.clear()

    def _path(self, number: int) -> Path:
        return self._directory / f"shard-{number:05}.safetensors"
