"""A number that says where it is from: the planner has no other kind."""

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """How a number is known, best first."""

    EXACT = "exact"  # follows from shapes and layouts, bit for bit
    MEASURED = "measured"  # on this machine, in the store
    CALIBRATED = "calibrated"  # a model whose constants were fitted on this machine
    PUBLISHED = "published"  # somebody else measured it
    HEURISTIC = "heuristic"  # a rule of thumb or a data sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A value, its basis, and whose it is.

    Attributes:
        value: in the unit of the field that holds it.
        basis: how it is known.
        source: who says so or which formula, in words short enough for a footnote.
        low, high: the range it is expected in; None where none is known, equal to `value` where exact.
    """

    value: float
    basis: Basis
    source: str
    low: float | None = None
    high: float | None = None
