"""Fields of a `quantization_config`, checked as they are taken: it comes from a stranger's file."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pennyweight.core.errors import FormatError, UnsupportedModel

Value = TypeVar("Value", str, int)


def whole(configuration: Mapping[str, Any], key: str, *, least: int, default: int | None = None) -> int:
    """A whole number from `least` to 2³¹ − 1. Raises: FormatError."""
    value = configuration.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 31:
        raise FormatError(f"quantization_config: {key} is {value!r}; wanted a whole number of at least {least}")
    return value


def choice(
    configuration: Mapping[str, Any], key: str, known: Sequence[Value], *, default: Value | None = None
) -> Value:
    """One of `known`. Raises: UnsupportedModel."""
    value = configuration.get(key, default)
    for candidate in known:
        if type(value) is type(candidate) and value == candidate:
            return candidate
    wanted = ", ".join(map(str, known))
    raise UnsupportedModel(f"quantization_config: {key} is {value!r}; read here: {wanted}")
