"""Lines of Arabic and Hebrew pages in the order in which they are read.

A PDF draws a line from left to right. pypdf turns each run of right-to-left letters round, and leaves the runs as they
stood: of `… 123 …` between two halves of an Arabic sentence, the second half comes first.
"""

from collections import Counter
from unicodedata import bidirectional

_FROM_RIGHT = {"R", "AL"}
_SCRIPTS = {"L", *_FROM_RIGHT}
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


def fragment_in_reading_order(text: str) -> str:
    """The same of a piece of a line on a page that runs from the right: a row of a table may be numbers alone."""
    return _numbers_from_right(text) if not _SCRIPTS.intersection(map(bidirectional, text)) else in_reading_order(text)


def _numbers_from_right(text: str) -> str:
    """Numbers side by side as they are read there: each from left to right, the right one first."""
    return " ".join(reversed(text.split()))


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
    return [_read(run) for run in (" ".join(run.split()) for run in runs) if run]


def _read(run: str) -> str:
    """A run as it is written: one from the right has the glyphs of the other brackets on the page."""
    sides = set(map(bidirectional, run))
    if sides & _FROM_RIGHT:
        return run.translate(_PAIRS)
    return run if "L" in sides else _numbers_from_right(run)
