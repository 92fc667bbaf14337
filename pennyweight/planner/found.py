"""What detection brings home of one card."""

from dataclasses import dataclass

from pennyweight.planner.cards import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCard:
    """A card of this machine.

    Attributes:
        used_bytes: of its memory, by others, now.
        measured: whether the driver said so.
        note: what a person should know of how it was found.
    """

    card: Card
    used_bytes: int = 0
    measured: bool = False
    note: str = ""
