"""Every error a caller can cause, as one tree: one line each, with the name, what was wanted, what was got, what to do.

A bug is a plain exception and keeps its traceback; everything below `PennyweightError` is shown as one line and exit 2
(`DoesNotFit` and `Differs`, where the answer is simply "no": exit 1).
"""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 40
"""Names that one line still holds; of more, the nearest are named."""


class PennyweightError(Exception):
    """The request cannot be met; `str(error)` is one line for a person."""

    exit_code = 2


class UnknownName(PennyweightError):
    """A format, file type, model, card or tensor name that does not exist."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownName":
        """The error that lists what does exist, the nearest names first."""
        names = list(known)
        nearest = get_close_matches(name.upper(), [n.upper() for n in names], n=3, cutoff=0.6)
        near = [n for n in names if n.upper() in nearest]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        known_ones = f"{len(names)} are known" if near and len(names) > MOST_LISTED else f"known: {', '.join(names)}"
        return cls(f"no {kind} named {name!r}; {hint}{known_ones}")


class ShapeError(PennyweightError):
    """An array or tensor whose shape a format or method cannot take."""


class FormatError(PennyweightError):
    """A file that is not what its name or header says: truncated, overlapping, oversized, of a wrong version."""


class UnsupportedModel(PennyweightError):
    """An architecture, tokenizer or configuration that we know of no safe way to carry over."""


class BadWeights(PennyweightError):
    """NaN or infinity where numbers were expected; says which tensor and where."""


class BadRequest(PennyweightError):
    """Options that contradict each other, or a path that cannot serve."""


class NotThere(BadRequest):
    """A server that answered, and has (or shows us) nothing of that name; another name may be tried."""


class OutputError(PennyweightError):
    """The output cannot be written: a full disk, a missing directory, an output that is the input."""


class Missing(PennyweightError):
    """An optional part is not installed; names the extra that brings it."""


class DoesNotFit(PennyweightError):
    """A model, a context or a request larger than what is there: the answer is no."""

    exit_code = 1


class Differs(PennyweightError):
    """A comparison passed its threshold: the answer is no."""

    exit_code = 1
