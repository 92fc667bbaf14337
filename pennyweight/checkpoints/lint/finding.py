"""One thing that lint found."""

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = ("error", "warning", "note")
_LISTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, where, and what to do.

    Attributes:
        level: `error` (it will not load, or computes something else), `warning` (some runtimes will not load it, or it
            costs quality), `note`.
        check: which check, in a word or two (`zero points`).
        where: tensor or file; empty for the whole checkpoint.
        message: one line.
        advice: what to do; empty where nothing is to be done.
    """

    level: str
    check: str
    where: str
    message: str
    advice: str = ""


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
