"""Codes as named arrays and facts, and back: how the journal keeps what a method returned, of whatever kind.

A kind is a frozen dataclass of arrays and plain values; the arrays are kept as tensors, the rest as JSON. A GGUF format
is kept by its name.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.core.errors import FormatError
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.codes import BlockCodes, Float8Codes, IntegerCodes
from pennyweight.formats.spqr_codes import SpQRCodes

KIND = "kind"
KINDS = {kind.__name__: kind for kind in (BlockCodes, Float8Codes, IntegerCodes, SpQRCodes)}

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]


def taken_apart(codes: Any) -> tuple[Arrays, Facts]:
    """Arrays by field, and the facts that `put_together` needs beside them."""
    arrays, facts = {}, {KIND: type(codes).__name__}
    for field in fields(codes):
        value = getattr(codes, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = np.ascontiguousarray(value)
        else:
            facts[field.name] = value.name if isinstance(value, BlockFormat) else value
    return arrays, facts


def put_together(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Any:
    """The codes. Raises: FormatError for a kind or a field that this version does not have."""
    kind = KINDS.get(str(facts.get(KIND)))
    if kind is None:
        raise FormatError(f"codes of the kind {facts.get(KIND)!r} are unknown here; the journal is another version's")
    values = {**{name: value for name, value in facts.items() if name != KIND}, **arrays}
    if kind is BlockCodes:
        values["format"] = formats.get(values["format"])
    try:
        return kind(**values)
    except TypeError as error:
        raise FormatError(f"codes of the kind {kind.__name__} do not fit: {error}") from error
