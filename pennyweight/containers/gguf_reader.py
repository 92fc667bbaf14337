"""Open a GGUF model: one file, or any part of a split one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pennyweight.containers.gguf import SPLIT_COUNT, SPLIT_KEYS, SPLIT_NO, SPLIT_TENSORS, GGUFValue, integer, shard_path
from pennyweight.containers.gguf_header import Header, read_header
from pennyweight.containers.source import FileSource, Source
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError

_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True, kw_only=True)
class GGUFFile:
    """An open GGUF model. Its files close when it and all its tensors are gone.

    Attributes:
        paths: the files, in order.
        metadata: key → typed value, in file order; of a split model the first file's, without the keys of the split.
        tensors: name → tensor, in file order.
        nbytes: size of all files.
        version: GGUF version of the first file.
    """

    paths: tuple[Path, ...]
    metadata: Mapping[str, GGUFValue]
    tensors: Mapping[str, StoredTensor]
    nbytes: int
    version: int


def open_gguf(path: str | Path) -> GGUFFile:
    """Open a GGUF file; of a split model (`…-00002-of-00003.gguf`), all of it.

    Raises:
        BadRequest: no such file.
        FormatError: not a sound GGUF file (see `read_header`), or a part of it is missing or not of this model.
    """
    path = Path(path)
    source = FileSource(path)
    header = read_header(source)
    count = integer(header.metadata.get(SPLIT_COUNT)) or 1
    if count < 2:
        return _assemble((path,), (source,), (header,))
    paths = _shard_paths(path, header, count)
    sources = tuple(source if shard == path else _open_shard(shard, path) for shard in paths)
    headers = tuple(header if shard is source else read_header(shard) for shard in sources)
    for number, (shard, found) in enumerate(zip(paths, headers, strict=True)):
        _require_part(shard, found, number, count)
    return _assemble(paths, sources, headers)


def gguf_of(sources: tuple[Source, ...]) -> GGUFFile:
    """A GGUF model from the sources of all its parts, in order, wherever they are; their names stand for paths.

    Raises: FormatError where one is not sound, or they are not the parts of one model.
    """
    headers = tuple(read_header(source) for source in sources)
    count = integer(headers[0].metadata.get(SPLIT_COUNT)) or 1
    if max(1, count) != len(sources):
        raise FormatError(f"{sources[0].name} is of a model in {count} parts, found are {len(sources)}")
    paths = tuple(Path(source.name) for source in sources)
    if count > 1:
        for number, (path, header) in enumerate(zip(paths, headers, strict=True)):
            _require_part(path, header, number, count)
    return _assemble(paths, sources, headers)


def _shard_paths(path: Path, header: Header, count: int) -> tuple[Path, ...]:
    number = integer(header.metadata.get(SPLIT_NO))
    match = _SHARD.fullmatch(path.name)
    if not match or number is None or path.name != shard_path(match["prefix"], number, count).name:
        part = "?" if number is None else number + 1
        raise FormatError(
            f"{path} is part {part} of {count} of a split model, but its name does not say so; "
            f"name the parts NAME-00001-of-{count:05d}.gguf and so on"
        )
    return tuple(path.with_name(shard_path(match["prefix"], i, count).name) for i in range(count))


def _open_shard(shard: Path, asked: Path) -> FileSource:
    if not shard.exists():
        raise FormatError(f"{asked} is part of a split model and {shard.name} is missing beside it")
    return FileSource(shard)


def _require_part(path: Path, header: Header, number: int, count: int) -> None:
    found = integer(header.metadata.get(SPLIT_NO)), integer(header.metadata.get(SPLIT_COUNT))
    if found != (number, count):
        raise FormatError(f"{path} says it is part {found[0]} of {found[1]} (from 0), wanted part {number} of {count}")


def _assemble(paths: tuple[Path, ...], sources: tuple[Source, ...], headers: tuple[Header, ...]) -> GGUFFile:
    metadata = dict(headers[0].metadata)
    tensors: dict[str, StoredTensor] = {}
    for path, header in zip(paths, headers, strict=True):
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise FormatError(f"{path}: tensor {tensor.name} stands in an earlier part of the model too")
            tensors[tensor.name] = tensor
    if len(paths) > 1:
        wanted = integer(metadata.get(SPLIT_TENSORS))
        if wanted != len(tensors):
            raise FormatError(f"{paths[0]}: the parts hold {len(tensors)} tensors, {SPLIT_TENSORS} says {wanted}")
        metadata = {key: value for key, value in metadata.items() if key not in SPLIT_KEYS}
    return GGUFFile(
        paths=paths,
        metadata=MappingProxyType(metadata),
        tensors=MappingProxyType(tensors),
        nbytes=sum(source.size for source in sources),
        version=headers[0].version,
    )
