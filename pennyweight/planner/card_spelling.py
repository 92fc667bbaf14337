"""How people write a card's name → the words that tell it from others, and its memory.

Case, spaces and hyphens do not matter; words that carry nothing (GeForce, NVIDIA) are left out; what is run together
(`RTX4090`, `4060ti`, `m1max`) or cut short (`4080s`, `4070tis`, `3080m`) is taken apart. Numbers with GB are memory.
"""

import re

_IDLE = {"nvidia", "geforce", "amd", "intel", "apple", "radeon", "graphics", "gpu", "card", "tesla", "chip", "with"}
_IDLE |= {"design", "workstation", "edition", "series", "hbm2", "hbm2e", "hbm3e", "tm", "ram", "vram", "memory"}
_IDLE |= {"unified", "generation", "instinct", "desktop"}
_SAME = {"mobile": "laptop", "notebook": "laptop"}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(?:gb|gib|g)")

ALIASES = {
    "dgx spark": "gb10",
    "strix halo": "8060s",
    "ai max+ 395": "8060s",
    "ai max+ pro 395": "8060s",
    "ai max 395": "8060s",
    "ai max 390": "8050s",
    "strix point": "890m",
    "ryzen": "",
    "hbm3": "sxm5",  # NVIDIA's library calls the H100 SXM5 `NVIDIA H100 80GB HBM3`, and `HBM3e` says nothing
    "macbook pro": "",
    "macbook air": "",
    "macbook": "",
    "mac studio": "",
    "mac mini": "",
    "mac pro": "",
    "imac": "",
    "blackwell max q": "blackwell",  # the same memory and bandwidth
    "max q": "laptop",
}
"""Other words for the same thing, replaced before a name is read."""

_ALIAS = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, ALIASES)) + r")(?!\w)")

_RESPELLED = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\((?:r|tm)\)", " "),
        (r"[-_/]", " "),
        (r"(\d)\s+(gb|gib|g)\b", r"\1\2"),
        (r"\b(rtx|gtx|rx|arc)\s*(pro)?(?=[abt]?\d)", r"\1 \2 "),  # RTX4090, RTXA6000, RTXPro6000
        (r"(?<=\d)tis\b|(?:\b|(?<=\d))tisuper\b", " ti super"),
        (r"\b(16[56]0|20[678]0|40[78]0)\s?s\b", r"\1 super"),  # and not AMD's 6700S
        (r"\b(10[5678]0|20[5678]0|30[56789]0|40[56789]0|50[56789]0)s\b", r"\1"),  # `2x 3090s`
        (r"\b(20[5678]0|30[5678]0|40[56789]0|50[56789]0)m\b", r"\1 laptop"),  # and not AMD's 5700M
        (r"(?<=\d)(ti|super|xtx|xt|gre|ada|laptop|mobile)\b", r" \1"),
        (r"\b(m[1-9])(pro|max|ultra)\b", r"\1 \2"),
        (r"\bmi (?=\d)", "mi"),
    )
)
"""Taken apart in this order."""


def read_name(text: str) -> tuple[frozenset[str], float]:
    """Words that tell cards apart, and GiB where they are said (else 0)."""
    lowered = text.lower()
    for pattern, plain in _RESPELLED[:2]:
        lowered = pattern.sub(plain, lowered)
    lowered = _ALIAS.sub(lambda found: ALIASES[found[0]], " ".join(lowered.split()))
    for pattern, plain in _RESPELLED[2:]:
        lowered = pattern.sub(plain, lowered)
    memory, words = 0.0, set()
    for word in lowered.split():
        size = _MEMORY.fullmatch(word.strip("()"))
        if size:
            memory = float(size[1])
        else:
            words |= {_SAME.get(part, part) for part in re.findall(r"[a-z0-9.]+", word)}
    cores = next((word for word in words if word.isdecimal() and f"{word} core" in lowered), None)
    if cores:  # `M4 Max 40 core`
        words = (words - {cores, "core", "cores"}) | {f"{cores}c"}
    return frozenset(words - _IDLE), memory


def bare_memory(words: frozenset[str]) -> tuple[frozenset[str], float]:
    """The same with a lone number of two or three digits read as memory: `A100 80`; 0 where there is not one."""
    numbers = [word for word in words if word.isdecimal() and len(word) in (2, 3)]
    if len(numbers) != 1:
        return words, 0.0
    return words - {numbers[0]}, float(numbers[0])
