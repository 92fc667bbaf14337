"""A repository on the Hugging Face Hub → an `Anatomy`, from a few kilobytes of config or some megabytes of header.

`HF_ENDPOINT` names another server of the same interface, `HF_HUB_OFFLINE` forbids to ask. What was read is kept in this
user's cache, for `--offline`.
"""

import hashlib
import json
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.containers import safetensors_header
from pennyweight.containers.gguf_names import ggufs, of_type
from pennyweight.containers.gguf_reader import gguf_of
from pennyweight.containers.kept_prefix import KeptSource, RecordingSource
from pennyweight.containers.remote import RemoteSource, Server
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.from_gguf import anatomy_from_gguf
from pennyweight.planner.from_config import from_config

MAX_JSON_BYTES = 16 << 20
MAX_SHARDS = 1000
DEFAULT_TYPE = "Q4_K_M"
"""What a repository of GGUF files means without a type, as with llama.cpp's `-hf`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A server of the Hub's interface.

    Attributes:
        endpoint: its address, without a slash at the end.
        server: how it is asked.
        cache: directory of kept headers.
        offline: take them from there and ask nobody.
    """

    endpoint: str
    server: Server
    cache: Path
    offline: bool

    def source(self, address: str) -> "RecordingSource | KeptSource":
        """A file as a source; `keep` what was read once it made sense. Raises: BadRequest, FormatError."""
        url = f"{self.endpoint}/{address}"
        if self.offline:
            return KeptSource(self._kept(url), url)
        return RecordingSource(RemoteSource(url, self.server))

    def keep(self, address: str, source: "RecordingSource | KeptSource") -> None:
        """Keep what was read of a source for later."""
        if isinstance(source, RecordingSource):
            source.keep(self._kept(f"{self.endpoint}/{address}"))

    def json(self, address: str) -> dict[str, Any]:
        """A JSON object. Raises: BadRequest, FormatError."""
        source = self.source(address)
        if source.size > MAX_JSON_BYTES:
            raise FormatError(f"{source.name} has {source.size} bytes of JSON; at most {MAX_JSON_BYTES} are read")
        body = bytearray(source.size)
        source.read_into(0, memoryview(body))
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{source.name} is not JSON: {str(error).splitlines()[0]}") from error
        if not isinstance(found, dict):
            raise FormatError(f"{source.name}: a JSON object is wanted, got {type(found).__name__}")
        self.keep(address, source)
        return found

    def _kept(self, url: str) -> Path:
        return self.cache / hashlib.sha256(url.encode()).hexdigest()


def default_hub(offline: bool) -> Hub:
    """The Hub as this user's environment names it."""
    from platformdirs import user_cache_path

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    cache = user_cache_path("pennyweight") / "headers"
    return Hub(endpoint=endpoint, server=Server(headers=_headers(offline)), cache=cache, offline=offline)


def _headers(offline: bool) -> dict[str, str]:
    """Who asks, and this user's leave to read gated models."""
    if offline:
        return {}
    from huggingface_hub.utils import build_hf_headers

    return build_hf_headers(library_name="pennyweight")


def hub_anatomy(hub: Hub, repository: str, file_type: str | None) -> Anatomy:
    """The anatomy of a repository: of its GGUF of `file_type` where one is named, else of its config.json.

    A repository of GGUF files alone means Q4_K_M.

    Raises:
        BadRequest: no such repository or type, no leave, no connection.
        FormatError: what is there cannot be read, or not planned.
    """
    files = _files(hub, repository)
    if file_type or "config.json" not in files:
        return _from_ggufs(hub, repository, of_type(files, file_type or _implied(files), repository))
    config = hub.json(_address(repository, "config.json"))
    name, source = repository.split("/")[1], f"config.json of {repository}"
    return from_config(
        config, name=name, source=source, repository=repository, stored=lambda: _stored(hub, repository, files)
    )


def _implied(files: list[str]) -> str:
    return DEFAULT_TYPE if ggufs(files) else "any"


def _files(hub: Hub, repository: str) -> list[str]:
    found = hub.json(f"api/models/{repository}").get("siblings")
    if not isinstance(found, list):
        raise FormatError(f"{hub.endpoint}: the list of files of {repository} is missing")
    names = [entry.get("rfilename") if isinstance(entry, dict) else None for entry in found]
    return [name for name in names if isinstance(name, str) and name.isprintable()]


def _address(repository: str, file: str) -> str:
    return f"{repository}/resolve/main/{urllib.parse.quote(file)}"


def _from_ggufs(hub: Hub, repository: str, parts: list[str]) -> Anatomy:
    addresses = [_address(repository, part) for part in parts[:MAX_SHARDS]]
    sources = [hub.source(address) for address in addresses]
    file = gguf_of(tuple(sources))
    for address, source in zip(addresses, sources, strict=True):
        hub.keep(address, source)
    name = parts[0].rpartition("/")[2].removesuffix(".gguf")
    return anatomy_from_gguf(file, name=name, repository=repository, source=f"GGUF header of {repository}/{parts[0]}")


def _stored(hub: Hub, repository: str, files: list[str]) -> list[StoredTensor]:
    """Tensors of all safetensors files, from their headers."""
    shards = [file for file in files if file.endswith(".safetensors") and "/" not in file][:MAX_SHARDS]
    tensors: list[StoredTensor] = []
    for shard in shards:
        address = _address(repository, shard)
        source = hub.source(address)
        tensors += safetensors_header.read_header(source).tensors
        hub.keep(address, source)
    return tensors
