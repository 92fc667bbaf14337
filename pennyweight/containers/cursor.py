"""A position in a header that may have been made to harm: nothing is read or allocated that cannot be there."""

from array import array
from struct import Struct

import numpy as np

from pennyweight.containers.gguf import LENGTH, StringArray, ValueType, decode_text
from pennyweight.containers.source import Source
from pennyweight.core.errors import FormatError

MAX_HEADER_BYTES = 128 << 20
"""Nobody's header is larger (a vocabulary of 262,144 tokens with merges takes 20 MB); bounds memory and time."""
FIRST_READ_BYTES = 1 << 20

U32, I32, I64 = Struct("<I"), Struct("<i"), Struct("<q")


class Cursor:
    """A position in a header; reads ahead in growing steps and never past the file or `MAX_HEADER_BYTES`."""

    def __init__(self, source: Source) -> None:
        self.source, self.position, self.window = source, 0, b""
        self.limit = min(source.size, MAX_HEADER_BYTES)

    def error(self, message: str) -> FormatError:
        """The error to raise, with the file's name before `message`."""
        return FormatError(f"{self.source.name}: {message}")

    def require_room(self, count: int, what: str) -> None:
        """Check that `count` more bytes can be there, before they are asked for or allocated."""
        left = self.limit - self.position
        if count > left:
            bound = "the file ends" if self.limit == self.source.size else "no header may be larger"
            raise self.error(f"{what} at byte {self.position} would take {count} bytes, but {bound} after {left} more")

    def fill(self, end: int, what: str) -> None:
        """Have the bytes up to `end` in the window."""
        have = len(self.window)
        if end <= have:
            return
        self.require_room(end - self.position, what)
        step = bytearray(min(max(end - have, have, FIRST_READ_BYTES), self.limit - have))
        self.source.read_into(have, memoryview(step))
        self.window += step

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; FormatError, here and below, names `what` could not be read."""
        end = self.position + count
        self.fill(end, what)
        taken = self.window[self.position : end]
        self.position = end
        return taken

    def number(self, layout: Struct, what: str) -> int:
        """The next integer, of the type that `layout` says."""
        return layout.unpack(self.take(layout.size, what))[0]

    def count(self, what: str, most: int) -> int:
        """A number of things that become objects here: `most` bounds what they may cost."""
        value = self.number(I64, f"the number of {what}")
        if not 0 <= value <= most:
            raise self.error(f"the header lists {value} {what}; 0 to {most} are accepted")
        return value

    def string(self, what: str) -> bytes:
        """The next string, undecoded."""
        return self.take(self.number(LENGTH, f"the length of {what}"), what)

    def name(self, what: str, most_bytes: int) -> str:
        """A string that serves as a name: not empty, bounded, printable UTF-8 (it will stand in messages)."""
        length = self.number(LENGTH, f"the length of {what}")
        if not 0 < length <= most_bytes:
            raise self.error(f"the name of {what} has {length} bytes; 1 to {most_bytes} are allowed")
        name = decode_text(self.take(length, what))
        if not name.isprintable():
            raise self.error(f"the name of {what} is not printable UTF-8: {name!r}")
        return name

    def value_type(self, key: str) -> ValueType:
        """The next value type, of the value or the items of `key`."""
        number = self.number(I32, f"the type of {key!r}")
        try:
            return ValueType(number)
        except ValueError:
            raise self.error(f"{key!r} has value type {number}; known are 0 to {max(ValueType)}") from None

    def strings(self, count: int, what: str) -> StringArray:
        """`count` strings, found but not decoded."""
        self.require_room(count * LENGTH.size, f"{count} strings of {what}")
        start, ends = self.position, array("q")
        while len(ends) < count:
            self.fill((ends[-1] if ends else start) + LENGTH.size, what)
            self._find_ends(start, count, ends, what)
        self.position = ends[-1] if ends else start
        self.fill(self.position, what)
        return StringArray(self.window[start : self.position], np.frombuffer(ends, np.int64) - start)

    def _find_ends(self, start: int, count: int, ends: "array[int]", what: str) -> None:
        """Append where strings end, for as many as the window reaches. Written for speed: 80 ns a string."""
        unpack, append, window = LENGTH.unpack_from, ends.append, self.window
        end, last, limit = (ends[-1] if ends else start), len(self.window) - LENGTH.size, self.limit
        for _ in range(count - len(ends)):
            if end > last:
                return
            end += LENGTH.size + unpack(window, end)[0]
            if end > limit:
                raise self.error(f"string {len(ends)} of {what} reaches to byte {end}, past the end of the header")
            append(end)
