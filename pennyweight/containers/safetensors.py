"""Open safetensors: one file, or a sharded checkpoint with its `model.safetensors.index.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pennyweight.containers.safetensors_header import read_header
from pennyweight.containers.source import FileSource
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsFile:
    """An open checkpoint's tensors. Its files close when it and all its tensors are gone.

    Attributes:
        paths: the files, in order.
        metadata: the free text of the files' headers (`format`: `pt`).
        tensors: name → tensor, in file order.
        nbytes: size of all files.
    """

    paths: tuple[Path, ...]
    metadata: Mapping[str, str]
    tensors: Mapping[str, StoredTensor]
    nbytes: int


def open_safetensors(path: str | Path) -> SafetensorsFile:
    """Open a `.safetensors` file, a `.safetensors.index.json`, or the directory that holds either.

    Raises:
        BadRequest: nothing of that kind there. (Pickled `.bin` and `.pt` files run code when loaded: never read.)
        FormatError: not sound (see `read_header`), or the index and the shards contradict each other.
    """
    path = Path(path)
    if path.is_dir():
        path = _in_directory(path)
    if not path.name.endswith(".json"):
        return _open_files((path,))
    index = _read_index(path)
    files = _open_files(tuple(path.parent / shard for shard in dict.fromkeys(index.values())), path)
    for name, shard in index.items():
        found = files.tensors.get(name)
        if found is None or found.source.name != str(path.parent / shard):
            raise FormatError(f"{path} says that {name} is in {shard}, where it is not; was the shard replaced or cut?")
    return files


def _in_directory(directory: Path) -> Path:
    for name in (SINGLE, INDEX):
        if (directory / name).is_file():
            return directory / name
    raise BadRequest(f"{directory} has neither {SINGLE} nor {INDEX}; pickled .bin and .pt files are never read")


def _read_index(path: Path) -> dict[str, str]:
    """Tensor → shard. Shards are plain names beside the index: a path would let a download read any file."""
    source = FileSource(path)
    if source.size > MAX_INDEX_BYTES:
        raise FormatError(f"{path} has {source.size} bytes; an index has at most {MAX_INDEX_BYTES}")
    try:
        found: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON: {str(error).splitlines()[0]}") from error
    weight_map = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{path} has no weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_plain(shard):
            raise FormatError(f"{path} puts {name} into {shard!r}; a .safetensors file beside the index is wanted")
    return weight_map


def _is_plain(shard: str) -> bool:
    return shard.isprintable() and shard.endswith(".safetensors") and not set(shard) & set("/\\:")


def _open_files(paths: tuple[Path, ...], index: Path | None = None) -> SafetensorsFile:
    metadata: dict[str, str] = {}
    tensors: dict[str, StoredTensor] = {}
    nbytes = 0
    for path in paths:
        if index is not None and not path.exists():
            raise FormatError(f"{index} names {path.name}, which is missing; download the checkpoint again")
        source = FileSource(path)
        header = read_header(source)
        nbytes += source.size
        metadata.update(header.metadata)
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise FormatError(f"{path}: tensor {tensor.name} is in {tensors[tensor.name].source.name} too")
            tensors[tensor.name] = tensor
    return SafetensorsFile(
        paths=paths, metadata=MappingProxyType(metadata), tensors=MappingProxyType(tensors), nbytes=nbytes
    )
