"""Ranged reading: a header parser and a tensor ask for (offset, size) and never learn where the bytes come from."""

import os
import stat
import weakref
from pathlib import Path
from typing import Protocol

from pennyweight.core.errors import BadRequest, FormatError


class Source(Protocol):
    """Bytes that can be asked for by range. `read_into` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """What messages call it: a path or an address."""
        ...

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` (uint8, contiguous) from `offset`. Raises: FormatError where the source ends before."""
        ...


class FileSource:
    """A local file, read by position into the caller's memory.

    Read, not mapped: a mapping counts every page it touched as ours (streaming a 15 GB tensor would show as 15 GB of
    memory), and a file cut short under a mapping kills the process, where here it is one clear line.

    The descriptor closes when the last tensor that needs it is gone, and at no other time: closed earlier, its number
    could be given to another file while a thread is still reading.
    """

    __slots__ = ("__weakref__", "_descriptor", "path", "size")

    def __init__(self, path: Path) -> None:
        """Open `path`. Raises: BadRequest where there is no such regular file, or it may not be read."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise BadRequest(f"cannot open {path}: {error.strerror}") from error
        weakref.finalize(self, os.close, self._descriptor)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadRequest(f"cannot open {path}: a file is wanted, and this is not a regular file")
        self.size = status.st_size

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises: FormatError where the file ends before, or cannot be read."""
        done = 0
        while done < len(buffer):  # one call moves 2 GiB at most
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise FormatError(f"{self.path}: reading at byte {offset + done} failed: {error.strerror}") from error
            if not count:
                wanted = offset + len(buffer)
                raise FormatError(f"{self.path} ends at byte {offset + done}, {wanted} are wanted; was it cut short?")
            done += count
