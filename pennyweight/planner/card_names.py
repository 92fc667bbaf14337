"""What people call a card → the card: `RTX 4060 Ti 16GB`, `4090`, `2x RTX 3090`, `M4 Max 64GB`, `7900xtx`.

A name is read as words; case, spaces and hyphens do not matter, and words that carry nothing (GeForce, NVIDIA) are
left out. Numbers with GB are memory: they choose among cards that share a name, and give the size of a shared memory.
"""

import re
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cache

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import GIB
from pennyweight.planner.cards import Card, all_cards

MOST_CARDS = 64

LONGEST_NAME = 80

_IDLE = {"nvidia", "geforce", "amd", "intel", "apple", "radeon", "graphics", "gpu", "tesla", "chip", "with", "design"}
_IDLE |= {"workstation", "edition", "series", "hbm2", "hbm2e", "hbm3e", "tm"}
_SAME = {"mobile": "laptop", "notebook": "laptop", "generation": "", "instinct": ""}
_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)(?:gb|gib|g)$")
_COUNT = re.compile(r"^\s*(\d{1,2})\s*[x×*]\s*(?=\D|\d{3})", re.IGNORECASE)  # `2x4090`, and not `7900xtx`

ALIASES = {
    "dgx spark": "GB10",
    "strix halo": "8060S",
    "ryzen ai max+ 395": "8060S",
    "ryzen ai max+ pro 395": "8060S",
    "ryzen ai max 390": "8050S",
    "strix point": "890M",
    "hbm3": "sxm5",  # NVIDIA's library calls the H100 SXM5 `NVIDIA H100 80GB HBM3`, and `HBM3e` says nothing
}
"""Other words for the same thing, replaced before a name is read."""


_ALIAS = re.compile(r"\b(?:" + "|".join(map(re.escape, ALIASES)) + r")\b")

SXM_BY_DEFAULT = ("Hopper", "Blackwell")
"""Architectures whose datacentre cards are the SXM part where a name does not say which."""


def find_cards(text: str) -> tuple[Card, ...]:
    """The cards that `text` names: several by commas or `2x`. Raises: UnknownName, BadRequest."""
    found: list[Card] = []
    for part in text.split(","):
        match = _COUNT.match(part)
        count = int(match[1]) if match else 1
        if not 1 <= count <= MOST_CARDS:
            raise BadRequest(f"{part.strip()!r} names {count} cards; 1 to {MOST_CARDS} are planned for")
        found += [find_card(part[match.end() :] if match else part)] * count
    return tuple(found)


def find_card(text: str) -> Card:
    """The one card that `text` names.

    Raises:
        UnknownName: none does; the nearest are offered.
        BadRequest: it has no such memory; or shares the machine's, of which nothing is said.
    """
    words, memory = _read(text)
    exact = [card for card in all_cards() if words and words == _words(card)]
    matches = exact or _containing(words)
    if not matches:
        raise _unknown(text)
    chosen = _by_memory(text, matches, memory)
    if chosen.unified and memory:
        return chosen.with_memory(round(memory * GIB))
    return chosen


def _read(text: str) -> tuple[frozenset[str], float]:
    """Words that tell cards apart, and GiB where they are said (else 0)."""
    lowered = re.sub(r"\((?:r|tm)\)", " ", text.lower()).replace("tisuper", "ti super")
    lowered = _ALIAS.sub(lambda found: ALIASES[found[0]].lower(), lowered)
    lowered = re.sub(r"(\d)\s+(gb|gib|g)\b", r"\1\2", re.sub(r"[-_/]", " ", lowered))
    lowered = re.sub(r"\b(rtx|gtx|rx|arc)(?=\d)", r"\1 ", lowered)
    lowered = re.sub(r"(?<=\d)(ti|super|xtx|xt|gre)\b", r" \1", lowered)
    memory, words = 0.0, set()
    for word in lowered.split():
        size = _MEMORY.match(word.strip("()"))
        if size:
            memory = float(size[1])
        else:
            words |= {_SAME.get(part, part) for part in re.findall(r"[a-z0-9.]+", word)}
    cores = next((word for word in words if re.fullmatch(r"\d+", word) and f"{word} core" in lowered), None)
    if cores:  # `M4 Max 40 core`
        words = (words - {cores, "core", "cores"}) | {f"{cores}c"}
    return frozenset(words - _IDLE - {""}), memory


def _words(card: Card) -> frozenset[str]:
    return _words_of(card.name)


@cache
def _words_of(name: str) -> frozenset[str]:
    return _read(name)[0]


def _containing(words: frozenset[str]) -> list[Card]:
    """Cards whose names hold every word; of those, the ones with the fewest words more (`4090`: not the laptop's)."""
    telling = any(len(word) > 1 for word in words)
    holding = [card for card in all_cards() if telling and words <= _words(card)]
    fewest = min((len(_words(card)) for card in holding), default=0)
    return [card for card in holding if len(_words(card)) == fewest]


def _by_memory(text: str, matches: list[Card], memory: float) -> Card:
    if all(card.unified for card in matches):
        return _first(matches)
    sized = [card for card in matches if not memory or abs(card.memory_bytes / GIB - memory) < 0.5]
    if not sized:
        sizes = " or ".join(sorted(f"{card.memory_bytes / GIB:.3g} GB" for card in matches))
        raise BadRequest(f"{text.strip()} has {sizes}, not {memory:.3g} GB; --vram and --bandwidth plan for any card")
    plain = [card for card in sized if not memory and not _read(card.name)[1]]
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
    asked = " ".join(sorted(_read(text)[0]))[:LONGEST_NAME]
    scores = {card.name: _likeness(asked, " ".join(sorted(_words(card)))) for card in all_cards()}
    near = [name for name in sorted(scores, key=lambda name: -scores[name])[:3] if scores[name] > 0.5]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UnknownName(
        f"no card named {text.strip()[:LONGEST_NAME]!r}; {hint}{len(scores)} are known, "
        "--vram 12GB --bandwidth 360 plans for any other"
    )


def _likeness(asked: str, name: str) -> float:
    """0 to 1, and a little more for the same letters and digits in another order (`3600`)."""
    return SequenceMatcher(None, asked, name).ratio() + 0.1 * (sorted(asked) == sorted(name))
