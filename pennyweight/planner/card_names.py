"""What people call a card → the card: `RTX 4060 Ti 16GB`, `4090`, `2x RTX 3090`, `M4 Max 64GB`, `7900xtx`.

Names are compared as sets of words (`card_spelling`). Memory chooses among cards that share a name, and gives the size
of a shared memory.
"""

import re
from dataclasses import replace
from functools import cache

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import GIB
from pennyweight.planner.card_spelling import bare_memory, read_name
from pennyweight.planner.cards import Card, all_cards

MOST_CARDS = 64

LONGEST_NAME = 80

_BEFORE = re.compile(
    r"^\s*(?:(\d{1,2})\s*[x×*]\s*(?=\D|\d{3})|(\d{3})\s*[x×*]\s*(?=\d{3})|(\d{1,2})\s+(?=[a-z]{2})|(dual|two|quad|four)\s+)",
    re.I,
)
_AFTER = re.compile(r"\s+[x×*]\s*(\d{1,2})\s*$", re.IGNORECASE)
_WORDS = {"dual": 2, "two": 2, "quad": 4, "four": 4}

SXM_BY_DEFAULT = ("Hopper", "Blackwell")
"""Architectures whose datacentre cards are the SXM part where a name does not say which."""


def find_cards(text: str) -> tuple[Card, ...]:
    """The cards that `text` names, several by commas or a count: `2x RTX 3090`, `3090 x2`, `dual 3090`.

    Raises: UnknownName, BadRequest.
    """
    found: list[Card] = []
    for part in text.split(","):
        count, name = _counted(part)
        if not 1 <= count <= MOST_CARDS:
            raise BadRequest(f"{part.strip()!r} names {count} cards; 1 to {MOST_CARDS} are planned for")
        found += [find_card(name)] * count
    return tuple(found)


def _counted(part: str) -> tuple[int, str]:
    """How many, and of what: `2x4090` is two, `7900xtx` one."""
    if before := _BEFORE.match(part):
        said = next(group for group in before.groups() if group)
        return _WORDS.get(said.lower()) or int(said), part[before.end() :]
    if after := _AFTER.search(part):
        return int(after[1]), part[: after.start()]
    return 1, part


def find_card(text: str) -> Card:
    """The one card that `text` names.

    Raises:
        UnknownName: none does; the nearest are offered.
        BadRequest: it has no such memory; or shares the machine's, of which nothing is said.
    """
    words, memory = read_name(text)
    matches = _matches(words)
    if not matches and not memory:
        words, memory = bare_memory(words)  # `A100 80`
        matches = _matches(words) if memory else []
    if not matches:
        raise _unknown(text)
    chosen = _by_memory(text, matches, memory)
    if chosen.unified and memory:
        return chosen.with_memory(round(memory * GIB))
    return chosen


def _matches(words: frozenset[str]) -> list[Card]:
    exact = [card for card in all_cards() if words and words == _words(card)]
    return exact or _containing(words)


def _words(card: Card) -> frozenset[str]:
    return _words_of(card.name)


@cache
def _words_of(name: str) -> frozenset[str]:
    return read_name(name)[0]


def _containing(words: frozenset[str]) -> list[Card]:
    """Cards whose names hold every word; of those, the ones with the fewest words more (`4090`: not the laptop's)."""
    telling = any(len(word) > 1 for word in words)
    holding = [card for card in all_cards() if telling and _holds(_words(card), words)]
    fewest = min((len(_words(card)) for card in holding), default=0)
    return [card for card in holding if len(_words(card)) == fewest]


def _holds(name: frozenset[str], words: frozenset[str]) -> bool:
    """Whether a card's name has every word; `sxm` is any of its generations."""
    return all(word in name or (word == "sxm" and any(part.startswith("sxm") for part in name)) for word in words)


def _by_memory(text: str, matches: list[Card], memory: float) -> Card:
    if all(card.unified for card in matches):
        return _first(matches)
    sized = [card for card in matches if not memory or abs(card.memory_bytes / GIB - memory) < 0.5]
    if not sized:
        sizes = " or ".join(sorted(f"{card.memory_bytes / GIB:.3g} GB" for card in matches))
        raise BadRequest(
            f"{text.strip()} has {sizes}, not {memory:.3g} GB; if yours has, name it without its memory and give --vram"
        )
    plain = [card for card in sized if not memory and not read_name(card.name)[1]]
    return _first(plain + [card for card in sized if card not in plain])


def _unnamed_form(card: Card) -> bool:
    """Whether NVIDIA leaves its form out: since Hopper the driver says PCIe and NVL; `NVIDIA H200` is the SXM."""
    return card.architecture in SXM_BY_DEFAULT and any(word.startswith("sxm") for word in _words(card))


def _first(matches: list[Card]) -> Card:
    """Of cards that share a name the SXM, or the one sold first (of a Mac's chips the smallest); noted."""
    chosen = next((card for card in matches if _unnamed_form(card)), matches[0])
    others = [card.name for card in matches if card is not chosen]
    if not others:
        return chosen
    return replace(chosen, note=f"the name is also that of {', '.join(others)}; planned for {chosen.name}")


def _unknown(text: str) -> UnknownName:
    asked = " ".join(sorted(read_name(text)[0]))[:LONGEST_NAME]
    scores = {card.name: _likeness(asked, " ".join(sorted(_words(card)))) for card in all_cards()}
    near = [name for name in sorted(scores, key=lambda name: -scores[name])[:3] if scores[name] > 0.5]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownName(
        f"no card named {text.strip()[:LONGEST_NAME]!r}; {hint}{len(scores)} are known, "
        "--vram 12GB --bandwidth 360 plans for any other"
    )


def _likeness(asked: str, name: str) -> float:
    """0 to 1, and a little more for the same letters and digits in another order (`3600`)."""
    from difflib import SequenceMatcher  # here: most names are known

    return SequenceMatcher(None, asked, name).ratio() + 0.1 * (sorted(asked) == sorted(name))
