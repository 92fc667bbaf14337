"""A repository → files in Hugging Face's cache: large ones fetched here, resumed and hashed, the rest by its library.

Its cache names each file after the hash that the server promised, SHA-256 of large files and git's SHA-1 of small ones.
A large file that lies there already is one that huggingface_hub need not fetch: it links it to its place.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.fetch import Promise, fetch
from pennyweight.containers.gguf_names import of_type
from pennyweight.containers.hub import Hub, default_hub, file_address
from pennyweight.core.errors import BadRequest, FormatError, NotThere, OutputError
from pennyweight.core.progress import progress_bar

# Never *.bin or *.pt: those are pickles, which run code when loaded.
CHECKPOINT_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]

NO_PART = ["*/*", "consolidated*"]
"""Of a checkpoint: other programs' copies of the same weights, in folders or under Mistral's own name."""

_SHA256, _SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_PIECE = 1 << 22


@lru_cache(maxsize=64)  # a job opens its model several times, and the server is asked once
def download(repository: str, file_type: str | None) -> Path:
    """A whole checkpoint's directory, or of a GGUF repository the (first) file of one type.

    A broken download goes on where it broke off. Each file's hash is compared once on this machine. Where the server
    cannot be reached, what was fetched earlier is taken.

    Raises: BadRequest (NotThere where the server has no such repository or type); FormatError for a file that is not
        what the server promised; it is removed, so that the next run fetches it anew.
    """
    hub = default_hub(offline=False)
    try:
        names = hub.files(repository)
    except NotThere:
        raise
    except BadRequest as error:  # before huggingface_hub, which tries five times and half a minute
        if (kept := _kept(repository, file_type)) is None:
            raise BadRequest(f"cannot fetch {repository}: {error}") from error
        return kept
    wanted = of_type(names, file_type, repository) if file_type else CHECKPOINT_FILES
    unwanted = [] if file_type else NO_PART
    large = {n: p for n, p in names.items() if p and _matches(n, wanted) and not _matches(n, unwanted)}
    _fetch_large(hub, repository, large)
    directory = _fetched(hub, repository, wanted, unwanted)
    check_hashes(
        (file for file in directory.rglob("*") if not file_type or _name(file, directory) in wanted), repository
    )
    return directory / wanted[0] if file_type else directory


def _matches(name: str, patterns: list[str]) -> bool:
    return any(name == pattern or fnmatch(name, pattern) for pattern in patterns)


def _fetch_large(hub: Hub, repository: str, promises: dict[str, Promise]) -> None:
    """Into the cache, each under the hash that it is promised to have."""
    for name, promise in promises.items():
        blob = _folder(repository) / "blobs" / promise.sha256
        if not blob.exists():
            fetch(f"{hub.endpoint}/{file_address(repository, name)}", hub.server, blob, promise)
            _remember(blob)


def _fetched(hub: Hub, repository: str, wanted: list[str], unwanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry; ours is one line at the end
    try:
        found = snapshot_download(
            repository, allow_patterns=wanted, ignore_patterns=unwanted or None, endpoint=hub.endpoint
        )
        return Path(found)
    except Exception as error:  # the hub's own errors, and whatever its HTTP client of the day raises
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise BadRequest(
            f"cannot fetch {repository}: {reason}; the same command goes on where this one broke off"
        ) from error


def _kept(repository: str, file_type: str | None) -> Path | None:
    """What was fetched earlier; None where nothing was. A directory may lack files: who opens it will say so."""
    folder = _folder(repository)
    try:
        directory = folder / "snapshots" / (folder / "refs" / "main").read_text().strip()
        names = [_name(file, directory) for file in directory.rglob("*") if file.is_file()]
    except OSError:
        return None
    if not file_type:
        return directory if "config.json" in names else None
    try:
        return directory / of_type(names, file_type, repository)[0]
    except BadRequest:
        return None


def _folder(repository: str) -> Path:
    """Where the cache has it."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def check_hashes(files: Iterable[Path], repository: str) -> None:
    """Compare each file of the cache with the hash that it is named after, unless that was done before.

    Raises: FormatError for the first that differs; it is removed.
    """
    for file in files:
        blob = file.resolve()
        if not file.is_symlink() or not blob.is_file() or _was_checked(blob):
            continue
        if not _is_right(blob):
            blob.unlink()
            file.unlink()
            raise FormatError(
                f"{file.name} of {repository} came damaged: its hash is not {blob.name[:12]}…, which the server "
                "promised; it was removed, the same command fetches it again"
            )
        _remember(blob)


def _is_right(blob: Path) -> bool:
    """Whether its bytes have the hash that is its name; where the name is no hash we know, nothing can be said."""
    hashers = _hashers(blob)
    with blob.open("rb") as opened, progress_bar("checking", blob.stat().st_size) as advance:
        while hashers and (piece := opened.read(_PIECE)):
            for hasher in hashers:
                hasher.update(piece)
            advance(len(piece))
    return not hashers or blob.name in [hasher.hexdigest() for hasher in hashers]


def _hashers(blob: Path) -> list[Any]:
    if _SHA256.fullmatch(blob.name):
        return [hashlib.sha256()]
    if _SHA1.fullmatch(blob.name):  # git's, or of the bytes alone, as some mirrors have it
        start = b"blob %d\0" % blob.stat().st_size
        return [hashlib.sha1(start, usedforsecurity=False), hashlib.sha1(usedforsecurity=False)]
    return []


def _mark(blob: Path) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("pennyweight") / "checked" / blob.name


def _state(blob: Path) -> bytes:
    found = blob.stat()
    return f"{found.st_size} {found.st_mtime_ns}\n".encode()


def _was_checked(blob: Path) -> bool:
    try:
        return _mark(blob).read_bytes() == _state(blob)
    except OSError:
        return False


def _remember(blob: Path) -> None:
    mark = _mark(blob)
    with suppress(OSError, OutputError):  # a mark that cannot be kept costs a second look next time, and no more
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(mark, _state(blob))


def _name(file: Path, directory: Path) -> str:
    return file.relative_to(directory).as_posix()
