"""Numbers of a config.json, checked as they are taken; what is missing is collected and said at once.

Planning is more lenient than conversion (`models.config`): an activation, a quantized checkpoint or a rope scaling that
llama.cpp computes otherwise change no size, so nothing here asks about them.
"""

from collections.abc import Mapping
from typing import Any

from pennyweight.core.errors import FormatError
from pennyweight.models.shape import MAX_BLOCKS

MOST = 1 << 31


class Fields:
    """A parsed config.json. A text model inside a multimodal one (`text_config`) is looked at first.

    A missing count reads as 1, so that one pass finds all that is missing; `require_complete` then says so.
    """

    def __init__(self, config: Mapping[str, Any], source: str = "config.json") -> None:
        self.source = source
        inner = config.get("text_config", config.get("llm_config"))
        self._levels = (inner, config) if isinstance(inner, dict) else (config,)
        self._missing: list[str] = []

    def value(self, *names: str) -> Any:
        """The first of these fields that is there and not null; None where none is."""
        found = (level.get(name) for level in self._levels for name in names)
        return next((value for value in found if value is not None), None)

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`, under the first of `names` that is there."""
        found = self.value(*names)
        if found is None:
            if default is None:
                self._missing.append(names[0])
            return least if default is None else default
        return self._checked(names[0], found, least)

    def blocks(self) -> int:
        """How many decoder blocks; checked at once, because so many of everything follow. Raises: FormatError."""
        found = self.count("num_hidden_layers")
        if found > MAX_BLOCKS:
            raise FormatError(f"{self.source}: num_hidden_layers is {found}; llama.cpp runs at most {MAX_BLOCKS}")
        return found

    def words(self, name: str, length: int) -> tuple[str, ...] | None:
        """One word for each block; None where the field is absent."""
        found = self.value(name)
        if found is None:
            return None
        if not isinstance(found, list) or len(found) != length or not all(isinstance(word, str) for word in found):
            raise FormatError(f"{self.source}: {name} is not a list of {length} words, one for each block")
        return tuple(found)

    def text(self, name: str) -> str:
        """A string; empty where the field is absent or something else."""
        found = self.value(name)
        return found if isinstance(found, str) else ""

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        found = self.value(name)
        return default if found is None else found is True

    def lacks(self, name: str) -> None:
        """Note that a field is missing."""
        self._missing.append(name)

    def require(self, holds: bool, otherwise: str) -> None:
        """Raises: FormatError, saying `otherwise`, where something that must hold does not and nothing is missing."""
        if not holds and not self._missing:
            raise FormatError(f"{self.source}: {otherwise}")

    def require_complete(self) -> None:
        """Raises: FormatError, which names every field that was wanted and is missing."""
        if self._missing:
            raise FormatError(f"{self.source} lacks {', '.join(dict.fromkeys(self._missing))}")

    def _checked(self, name: str, found: Any, least: int) -> int:
        # Some configs write 128.0 for 128.
        whole = int(found) if isinstance(found, float) and found.is_integer() else found
        if isinstance(whole, bool) or not isinstance(whole, int) or not least <= whole < MOST:
            raise FormatError(f"{self.source}: {name} is {found!r}; wanted a whole number of at least {least}")
        return whole
