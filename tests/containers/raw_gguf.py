"""GGUF files put together by hand, field by field, so that any field can be wrong; shares no code with the package."""

from dataclasses import dataclass, field
from struct import pack

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10


def text(value: bytes | str) -> bytes:
    """A string as GGUF has it."""
    raw = value.encode() if isinstance(value, str) else value
    return pack("<Q", len(raw)) + raw


def key(name: bytes | str, kind: int, value: bytes) -> bytes:
    """One metadata entry."""
    return text(name) + pack("<i", kind) + value


def strings(*values: str, count: int | None = None) -> bytes:
    """The value of an array of strings; `count` may lie."""
    return pack("<iQ", STRING, len(values) if count is None else count) + b"".join(map(text, values))


def tensor(
    name: bytes | str, ne: tuple[int, ...], ggml_type: int = 0, offset: int = 0, dims: int | None = None
) -> bytes:
    """One tensor entry; `ne` has the row first, as in the file."""
    return text(name) + pack(f"<I{len(ne)}qiQ", len(ne) if dims is None else dims, *ne, ggml_type, offset)


@dataclass(kw_only=True)
class RawGGUF:
    """A small sound file; a test changes what it wants wrong."""

    magic: bytes = b"GGUF"
    version: int = 3
    keys: list[bytes] = field(
        default_factory=lambda: [
            key("general.architecture", STRING, text("llama")),
            key("llama.block_count", U32, pack("<I", 2)),
            key("a.flag", BOOL, b"\1"),
            key("a.table", ARRAY, pack("<iQ3f", F32, 3, 1, 2, 3)),
            key("tokenizer.ggml.tokens", ARRAY, strings("<s>", "", "häuser")),
        ]
    )
    tensors: list[bytes] = field(default_factory=lambda: [tensor("a", (4, 2)), tensor("b", (32,), 8, 32)])
    key_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32
    data: bytes = bytes(range(32)) + bytes(64)

    def header(self) -> bytes:
        """Everything before the data, padding included."""
        keys = len(self.keys) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        head = self.magic + pack("<IQQ", self.version, tensors, keys) + b"".join(self.keys + self.tensors)
        return head + bytes(-len(head) % self.alignment)

    def bytes(self) -> "bytes":
        """The whole file."""
        return self.header() + self.data
