"""What this machine is: its cards, its memory, what is already used of them. Whatever a tool says, nothing fails."""

from dataclasses import dataclass

from pennyweight.planner.detect_amd import amd_cards
from pennyweight.planner.detect_apple import apple_cards
from pennyweight.planner.detect_host import detect_host
from pennyweight.planner.detect_nvidia import nvidia_cards
from pennyweight.planner.found import FoundCard
from pennyweight.planner.host import Host
from pennyweight.planner.memory import Budget
from pennyweight.planner.probe import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """Cards and host, and what a person should know of how they were found."""

    cards: tuple[FoundCard, ...]
    host: Host
    notes: tuple[str, ...]

    @property
    def budget(self) -> Budget:
        """What there is for a model. Of cards that others use differently, each counts as the fullest."""
        return Budget(
            cards=tuple(found.card for found in self.cards),
            host=self.host,
            used_bytes=max((found.used_bytes for found in self.cards), default=0),
            measured=bool(self.cards) and all(found.measured for found in self.cards),
        )


def detect(probe: Probe | None = None) -> Detected:
    """Look for cards of every make; the host's bandwidth is not measured yet (`detect_host.measured`)."""
    probe = probe or Probe()
    cards = (*nvidia_cards(probe), *amd_cards(probe), *apple_cards(probe))
    own = tuple(found for found in cards if not found.card.unified) or cards
    notes = tuple(found.note for found in own if found.note)
    if len(own) < len(cards):
        left = ", ".join(found.card.name for found in cards if found.card.unified)
        notes += (f"{left}: shares the machine's memory and is left aside for the card that has its own",)
    host = detect_host(probe)
    return Detected(cards=tuple(_sized(found, host) for found in own), host=host, notes=notes)


def _sized(found: FoundCard, host: Host) -> FoundCard:
    """A shared memory that the card's own tool did not size is the machine's."""
    if not found.card.unified or found.card.memory_bytes:
        return found
    return FoundCard(card=found.card.with_memory(host.memory_bytes), note=found.note)
