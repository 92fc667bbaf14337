"""One large file from a server, whole and as it was promised: goes on where an earlier try broke off, and is hashed.

huggingface_hub (2.4) begins a broken download anew in the next process and compares sizes alone; a model has gigabytes.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.containers.atomic import lock, sync_directory
from pennyweight.containers.remote import Server, answered_size, open_url
from pennyweight.core.errors import BadRequest, FormatError, OutputError
from pennyweight.core.progress import progress_bar
from pennyweight.core.units import show_bytes

Advance = Callable[[int], None]

TRIES = 3
"""How often in a row a server may break off without having sent anything."""

PAUSE_SECONDS = 1.0
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a server says a file is: its bytes, and their SHA-256 in 64 hex digits."""

    size: int
    sha256: str


def fetch(url: str, server: Server, target: Path, promise: Promise) -> None:
    """Make `target` the file at `url`; what has come so far lies in `target.incomplete` until all of it has.

    Raises:
        BadRequest: no answer, or it broke off `TRIES` times in a row; what has come stays for the next try.
        FormatError: the bytes are not those promised, or the answer contradicts itself; wrong bytes are removed.
        OutputError: no space, or another process fetches the same file.
    """
    part = target.with_name(f"{target.name}.incomplete")
    descriptor = _opened(part)
    try:
        _lock(descriptor, part)
        if target.exists():  # another process was quicker
            part.unlink(missing_ok=True)
            return
        _require_space(part, promise.size - os.fstat(descriptor).st_size)
        with progress_bar("fetching", promise.size) as advance:
            _fill(url, server, descriptor, promise.size, advance)
        if _sha256(descriptor, promise.size) != promise.sha256:
            part.unlink()
            raise FormatError(
                f"{url} came damaged: its SHA-256 is not {promise.sha256[:12]}…, which the server promised; what came "
                "was removed, the same command fetches it again"
            )
        os.fsync(descriptor)
        os.replace(part, target)
        sync_directory(target)
    finally:
        os.close(descriptor)


def _fill(url: str, server: Server, descriptor: int, size: int, advance: Advance) -> None:
    """Append until the file has `size` bytes."""
    have = os.lseek(descriptor, 0, os.SEEK_END)
    if have > size:
        have = _restart(descriptor)
    advance(have)
    failed = 0
    while have < size:
        before = have
        try:
            have = _go_on(url, server, descriptor, have, size, advance)
            reason = "it ended early"
        except (OSError, http.client.HTTPException) as error:
            have, reason = os.lseek(descriptor, 0, os.SEEK_END), str(error) or type(error).__name__
        if have == size:
            return
        failed = 0 if have > before else failed + 1
        if failed == TRIES:
            raise BadRequest(
                f"{url} broke off after {show_bytes(have)} of {show_bytes(size)} ({reason}); the same command goes on "
                "from there"
            )
        time.sleep(PAUSE_SECONDS)


def _go_on(url: str, server: Server, descriptor: int, have: int, size: int, advance: Advance) -> int:
    """One request for what is missing → bytes there now. Raises: BadRequest, FormatError, and what reading raises."""
    with open_url(url, server, {"Range": f"bytes={have}-"}) as answer:
        if have and answer.status == 200:  # it sends the whole, asked for the rest
            advance(-have)
            have = _restart(descriptor)
        stated = answered_size(answer, url, have)
        if stated != size:
            raise FormatError(f"{url} has {stated} bytes where {size} were promised; ask again")
        while have < size and (piece := answer.read(min(_PIECE, size - have))):
            _append(descriptor, piece)
            have += len(piece)
            advance(len(piece))
    return have


def _append(descriptor: int, piece: bytes) -> None:
    """All of it. Raises: OutputError: a full disk is no server that broke off."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise OutputError(f"cannot write what is fetched: {error.strerror}; what has come stays") from error


def _restart(descriptor: int) -> int:
    os.ftruncate(descriptor, 0)
    return os.lseek(descriptor, 0, os.SEEK_SET)


def _sha256(descriptor: int, size: int) -> str:
    hasher, done = hashlib.sha256(), 0
    with progress_bar("checking", size) as advance:
        while piece := os.pread(descriptor, _PIECE, done):
            hasher.update(piece)
            done += len(piece)
            advance(len(piece))
    return hasher.hexdigest()


def _opened(part: Path) -> int:
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        return os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(f"cannot write {part}: {error.strerror}") from error


def _lock(descriptor: int, part: Path) -> None:
    try:
        lock(descriptor)
    except OSError as error:
        raise OutputError(f"{part} is being fetched by another process; wait for it, or end it") from error


def _require_space(part: Path, wanted: int) -> None:
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(part.parent).free
        if wanted > free:
            raise OutputError(f"{part} needs {show_bytes(wanted)} more, but the disk has {show_bytes(free)} free")
