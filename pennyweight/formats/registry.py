"""The formats, all of them: `ALL` are those Pennyweight writes, `FOREIGN` those it only reads.

`get` and `by_ggml_type` look among both.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from pennyweight.core.errors import UnknownName
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.bf16 import BF16
from pennyweight.formats.f16 import F16
from pennyweight.formats.f32 import F32
from pennyweight.formats.foreign import FOREIGN
from pennyweight.formats.fp8_e4m3 import FP8_E4M3
from pennyweight.formats.fp8_e5m2 import FP8_E5M2
from pennyweight.formats.iq4_nl import IQ4_NL
from pennyweight.formats.iq4_xs import IQ4_XS
from pennyweight.formats.q2_k import Q2_K
from pennyweight.formats.q3_k import Q3_K
from pennyweight.formats.q4_0 import Q4_0
from pennyweight.formats.q4_1 import Q4_1
from pennyweight.formats.q4_k import Q4_K
from pennyweight.formats.q5_0 import Q5_0
from pennyweight.formats.q5_1 import Q5_1
from pennyweight.formats.q5_k import Q5_K
from pennyweight.formats.q6_k import Q6_K
from pennyweight.formats.q8_0 import Q8_0
from pennyweight.formats.sizes import require_declared

Key = TypeVar("Key", str, int)

ALL: tuple[BlockFormat, ...] = (
    F32,
    F16,
    BF16,
    FP8_E4M3,
    FP8_E5M2,
    Q8_0,
    Q6_K,
    Q5_K,
    Q5_1,
    Q5_0,
    Q4_K,
    Q4_1,
    Q4_0,
    IQ4_NL,
    IQ4_XS,
    Q3_K,
    Q2_K,
)


def get(name: str) -> BlockFormat:
    """The format of that name, written or only read, in any case: `q4_k`. Raises: UnknownName."""
    found = _BY_NAME.get(name.upper())
    if found is None:
        raise UnknownName.among("format", name, _BY_NAME)
    return found


def get_writable(name: str) -> BlockFormat:
    """The format of that name, in any case, if Pennyweight writes it. Raises: UnknownName, listing those it does."""
    found = _BY_NAME.get(name.upper())
    if found is None or not found.writable:
        raise UnknownName.among("format that can be written", name, (f.name for f in ALL))
    return found


def by_ggml_type(ggml_type: int) -> BlockFormat | None:
    """The format of that id in GGUF files, written or only read; None where no file may hold it."""
    return _BY_TYPE.get(ggml_type)


def index_by(key: Callable[[BlockFormat], Key | None], formats: Iterable[BlockFormat]) -> dict[Key, BlockFormat]:
    """Formats by key, those without one left out. A key that two formats claim is a bug: ValueError, at import."""
    table: dict[Key, BlockFormat] = {}
    for format in formats:
        value = key(format)
        if value in table:
            raise ValueError(f"{format.name} and {table[value].name} both claim {value!r}")
        if value is not None:
            table[value] = format
    return table


_BY_NAME = index_by(lambda f: f.name.upper(), (*ALL, *FOREIGN))
_BY_TYPE = index_by(lambda f: f.ggml_type, (*ALL, *FOREIGN))

require_declared((f.name, f.block_size, f.block_bytes) for f in (*ALL, *FOREIGN))
