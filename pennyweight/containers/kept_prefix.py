"""Headers of remote files, kept for when there is no net: the bytes that were read from the start of a file.

8 bytes size of the whole file (little-endian) · the bytes read, from its start
"""

from pathlib import Path
from struct import Struct

from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.source import Source
from pennyweight.core.errors import BadRequest, FormatError

_SIZE = Struct("<Q")
MAX_KEPT_BYTES = 160 << 20


class RecordingSource:
    """A `Source` that remembers how far from the start it was read."""

    __slots__ = ("_inner", "_prefix", "name", "size")

    def __init__(self, inner: Source) -> None:
        self._inner, self._prefix = inner, bytearray()
        self.name, self.size = inner.name, inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """As the inner source."""
        self._inner.read_into(offset, buffer)
        if offset <= len(self._prefix) < offset + len(buffer):
            self._prefix += buffer[len(self._prefix) - offset :]

    def keep(self, path: Path) -> None:
        """Write what was read to `path`. Raises: OutputError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _SIZE.pack(self.size) + bytes(self._prefix))


class KeptSource:
    """A `Source` of a kept header; past what was kept there is nothing."""

    __slots__ = ("_bytes", "name", "size")

    def __init__(self, path: Path, name: str) -> None:
        """Open it. Raises: BadRequest where nothing was kept; FormatError where it is damaged."""
        try:
            kept = path.read_bytes() if path.stat().st_size <= MAX_KEPT_BYTES else b""
        except OSError as error:
            raise BadRequest(
                f"{name} was never read here, and --offline forbids to ask; ask once without it"
            ) from error
        if len(kept) < _SIZE.size:
            raise FormatError(f"{path}: a damaged copy of a header; remove it and ask again")
        self.name, self.size = name, _SIZE.unpack_from(kept)[0]
        self._bytes = kept[_SIZE.size :]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises: FormatError past the kept bytes."""
        end = offset + len(buffer)
        if end > len(self._bytes):
            raise FormatError(f"{self.name}: the kept header has {len(self._bytes)} bytes, {end} are wanted; ask again")
        buffer[:] = self._bytes[offset:end]
