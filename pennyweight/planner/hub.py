"""A repository on the Hugging Face Hub → an `Anatomy`, from a few kilobytes of config or some megabytes of header."""

from collections.abc import Iterable

from pennyweight.containers import safetensors_header
from pennyweight.containers.gguf_names import ggufs, of_type
from pennyweight.containers.gguf_reader import gguf_of
from pennyweight.containers.hub import Hub, file_address
from pennyweight.containers.tensor import StoredTensor
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.from_gguf import anatomy_from_gguf
from pennyweight.planner.from_config import from_config

MAX_SHARDS = 1000
DEFAULT_TYPE = "Q4_K_M"
"""What a repository of GGUF files means without a type, as with llama.cpp's `-hf`."""


def hub_anatomy(hub: Hub, repository: str, file_type: str | None) -> Anatomy:
    """The anatomy of a repository: of its GGUF of `file_type` where one is named, else of its config.json.

    A repository of GGUF files alone means Q4_K_M.

    Raises:
        BadRequest: no such repository or type, no leave, no connection.
        FormatError: what is there cannot be read, or not planned.
    """
    files = hub.files(repository)
    if file_type or "config.json" not in files:
        return _from_ggufs(hub, repository, of_type(files, file_type or _implied(files), repository))
    config = hub.json(file_address(repository, "config.json"))
    name, source = repository.split("/")[1], f"config.json of {repository}"
    return from_config(
        config, name=name, source=source, repository=repository, stored=lambda: _stored(hub, repository, files)
    )


def _implied(files: Iterable[str]) -> str:
    return DEFAULT_TYPE if ggufs(files) else "any"


def _from_ggufs(hub: Hub, repository: str, parts: list[str]) -> Anatomy:
    addresses = [file_address(repository, part) for part in parts[:MAX_SHARDS]]
    sources = [hub.source(address) for address in addresses]
    file = gguf_of(tuple(sources))
    for address, source in zip(addresses, sources, strict=True):
        hub.keep(address, source)
    name = parts[0].rpartition("/")[2].removesuffix(".gguf")
    return anatomy_from_gguf(file, name=name, repository=repository, source=f"GGUF header of {repository}/{parts[0]}")


def _stored(hub: Hub, repository: str, files: Iterable[str]) -> list[StoredTensor]:
    """Tensors of all safetensors files, from their headers."""
    shards = [file for file in files if file.endswith(".safetensors") and "/" not in file][:MAX_SHARDS]
    tensors: list[StoredTensor] = []
    for shard in shards:
        address = file_address(repository, shard)
        source = hub.source(address)
        tensors += safetensors_header.read_header(source).tensors
        hub.keep(address, source)
    return tensors
