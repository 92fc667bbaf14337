"""What a user may ask for tensor by tensor: `--tensor-type REGEX=FORMAT` and its relatives.

Source: llama.cpp b11549 tools/quantize/quantize.cpp `parse_tensor_type`, `parse_tensor_type_file`; llama-quant.cpp
`llama_tensor_get_type` for what goes before what (see `pennyweight.recipes.assign`).
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pennyweight import formats
from pennyweight.core.errors import BadRequest, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorType:
    """`--tensor-type pattern=format`: the tensors whose name the pattern is found in become `format`."""

    pattern: re.Pattern[str]
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The options that go before a file type's rules. None of them goes before the row-size fallback.

    Attributes:
        tensor_types: the first whose pattern is found decides.
        output_tensor_type: format of output.weight; in a model without one, it replaces the token embedding's rules.
        token_embedding_type: format of the token embeddings; goes before `tensor_types`.
        leave_output_tensor: output.weight stays as it is stored.
        pure: no mix, every tensor the base format.
    """

    tensor_types: tuple[TensorType, ...] = ()
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    leave_output_tensor: bool = False
    pure: bool = False

    def named(self, tensor: str) -> TensorType | None:
        """The first of `tensor_types` that names this tensor."""
        return next((t for t in self.tensor_types if t.pattern.search(tensor)), None)


def parse_overrides(
    *,
    tensor_types: Iterable[str] = (),
    tensor_type_file: Path | None = None,
    output_tensor_type: str | None = None,
    token_embedding_type: str | None = None,
    leave_output_tensor: bool = False,
    pure: bool = False,
) -> Overrides:
    """The options as typed → `Overrides`; patterns on the command line come before those of the file.

    Raises: BadRequest, UnknownName.
    """
    from_file = read_tensor_types(tensor_type_file) if tensor_type_file else ()
    return Overrides(
        tensor_types=(*map(parse_tensor_type, tensor_types), *from_file),
        output_tensor_type=format_name(output_tensor_type) if output_tensor_type else None,
        token_embedding_type=format_name(token_embedding_type) if token_embedding_type else None,
        leave_output_tensor=leave_output_tensor,
        pure=pure,
    )


def parse_tensor_type(text: str) -> TensorType:
    r"""`attn_v=q6_k` or `blk\.[0-3]\.ffn_down=Q5_K`: a regular expression, lower-cased, up to the first `=`; a format.

    Raises: BadRequest, UnknownName.
    """
    pattern, equals, name = text.partition("=")
    if not (pattern and equals and name):
        raise BadRequest(f"--tensor-type {text!r}: wanted REGEX=FORMAT, for instance ffn_down=Q6_K")
    return TensorType(pattern=_compile(pattern.lower(), text), format=format_name(name))


def read_tensor_types(path: Path) -> tuple[TensorType, ...]:
    """`--tensor-type-file`: one REGEX=FORMAT after another, between white space. Raises: BadRequest, UnknownName."""
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--tensor-type-file {path}: cannot be read: {error}") from error
    return tuple(parse_tensor_type(word) for word in words)


def format_name(text: str) -> str:
    """The name of a format that GGUF files can carry and we can encode, from any case. Raises: UnknownName."""
    known = [f.name for f in formats.ALL if f.ggml_type is not None]
    if text.upper() not in known:
        raise UnknownName.among("format", text, known)
    return text.upper()


def _compile(pattern: str, text: str) -> re.Pattern[str]:
    # ASCII: std::regex knows no other letters or digits. FutureWarning: Python's for `[[`, which means a POSIX class
    # (`[[:digit:]]`) in std::regex and a literal bracket here, so it must not pass.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(pattern, re.ASCII)
    except (re.error, FutureWarning, DeprecationWarning) as error:
        raise BadRequest(f"--tensor-type {text!r}: {pattern!r} is not a regular expression: {error}") from error
