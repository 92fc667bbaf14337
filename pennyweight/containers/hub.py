"""A server of the Hugging Face Hub's interface, asked by ranged requests: a repository's files, and how a file starts.

`HF_ENDPOINT` names another server of the same interface, `HF_HUB_OFFLINE` forbids to ask. What was read is kept in this
user's cache, for `--offline`. Whole files are huggingface_hub's to fetch (`checkpoints.download`).
"""

import hashlib
import json
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.containers.fetch import Promise
from pennyweight.containers.kept_prefix import KeptSource, RecordingSource
from pennyweight.containers.remote import MAX_FILE_BYTES, RemoteSource, Server
from pennyweight.core.errors import FormatError

MAX_JSON_BYTES = 16 << 20


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

    def files(self, repository: str) -> dict[str, Promise | None]:
        """Its files by name; of large ones what the server promises.

        Raises: BadRequest (NotThere where the server shows no such repository), FormatError.
        """
        found = self.json(f"api/models/{repository}?blobs=true").get("siblings")
        if not isinstance(found, list):
            raise FormatError(f"{self.endpoint}: the list of files of {repository} is missing")
        named = {entry.get("rfilename"): _promise(entry.get("lfs")) for entry in found if isinstance(entry, dict)}
        return {name: promise for name, promise in named.items() if isinstance(name, str) and name.isprintable()}

    def _kept(self, url: str) -> Path:
        return self.cache / hashlib.sha256(url.encode()).hexdigest()


def file_address(repository: str, file: str) -> str:
    """Where a file of a repository lies, below the endpoint."""
    return f"{repository}/resolve/main/{urllib.parse.quote(file)}"


def _promise(lfs: object) -> Promise | None:
    size, digest = (lfs.get("size"), lfs.get("sha256")) if isinstance(lfs, dict) else (None, None)
    if not isinstance(size, int) or not 0 < size <= MAX_FILE_BYTES or not isinstance(digest, str):
        return None
    return Promise(size=size, sha256=digest) if re.fullmatch("[0-9a-f]{64}", digest) else None


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
