"""Lines of Arabic and Hebrew pages in the order in which they are read.

A PDF draws a line from left to right. pypdf turns each run of right-to-left letters round, and leaves the runs as they
stood: of `… 123 …` between two halves of an Arabic sentence, the second half comes first.
"""

from collections import Counter
from unicodedata import bidirectional

_FROM_RIGHT = {"R", "AL"}
_FROM_LEFT = {"L", "EN", "AN"}  # numbers run from left to right in every script
_PAIRS = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def from_right(text: str) -> bool:
    """Whether a text is of a script that runs from right to left: more than a third of its letters."""
    if text.isascii():
        return False
    sides = Counter(map(bidirectional, text))
    right = sum(sides[side] for side in _FROM_RIGHT)
    return right > (right + sides["L"]) / 3


def in_reading_order(page: str) -> str:
    """The page's lines, the runs of each from the right one to the left one; as they are, where the page runs right."""
    if not from_right(page):
        return page
    return "\n".join(" ".join(reversed(_runs(line))) if line.strip() else line for line in page.split("\n"))


def _runs(line: str) -> list[str]:
    """Runs of one direction, from left to right; what has none (spaces, marks) stays with what is before it."""
    runs: list[str] = []
    side = ""
    for letter in line:
        found = bidirectional(letter)
        now = "right" if found in _FROM_RIGHT else "left" if found in _FROM_LEFT else side
        if not runs or (now != side and side):
            runs.append(letter)
        else:
            runs[-1] += letter
        side = now
    return [_mirrored(run) for run in (" ".join(run.split()) for run in runs) if run]


def _mirrored(run: str) -> str:
    """Brackets of a run from the right as they are written: the page has the glyph of the other one."""
    return run.translate(_PAIRS) if any(bidirectional(letter) in _FROM_RIGHT for letter in run) else run
