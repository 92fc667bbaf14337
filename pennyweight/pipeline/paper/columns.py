"""Fragments of a PDF page with their places → lines in reading order, two columns told from one.

Most PDFs say their text in reading order already. Those that go from line to line across both columns are noticed by
what stands left and right of an empty gutter in the middle, and read down the left column first; down the right one
where the script runs from right to left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width

from pennyweight.pipeline.paper.direction import fragment_in_reading_order, from_right

_SAME_LINE = 0.4
"""Of the letters' height: baselines nearer than this are one line."""

_FEWEST_LINES = 8
"""Lines on each side that make a column; fewer are a table or a heading."""

_FEWEST_LETTERS = 2
"""Of a fragment on average, where fragments are words or lines."""

_LETTER_WIDTH = 0.5
"""Of the font size: what a letter takes on average, for fragments that do not state their width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A run of text: its left end and baseline in points from the lower left corner, and its font size."""

    text: str
    x: float
    y: float
    size: float

    @property
    def right(self) -> float:
        """Where it ends, about."""
        wide = 0 if self.text.isascii() else sum(east_asian_width(letter) in "WF" for letter in self.text)
        return self.x + _LETTER_WIDTH * self.size * (len(self.text) + wide)  # an ideograph is a square


def in_columns(fragments: Sequence[Fragment], width: float) -> str | None:
    """The text, left column before right; None where the page is not two columns that were told across.

    Args:
        fragments: in the order of the file.
        width: of the page, points.
    """
    told = [f for f in fragments if f.text.strip()]
    gutter = _gutter(told, width)
    if gutter is None or not _alternates(told, gutter):
        return None
    spanning = [f for f in told if f.x < gutter < f.right - f.size]
    top = max((f.y for f in spanning), default=float("-inf"))
    above = [f for f in told if f.y >= top] if spanning else []
    below = [f for f in told if f.y < top] if spanning else told
    left, right = [f for f in below if f.x < gutter], [f for f in below if f.x >= gutter]
    backwards = from_right("".join(f.text for f in told))
    columns = (right, left) if backwards else (left, right)
    return "\n".join(line for part in (above, *columns) for line in _lines(part, backwards))


def lines_from_right(fragments: Sequence[Fragment]) -> str | None:
    """The lines of a page that runs from right to left; None where its letters were placed one by one."""
    told = [f for f in fragments if f.text.strip()]
    if sum(len(f.text.strip()) for f in told) < _FEWEST_LETTERS * len(told):
        return None
    return "\n".join(_lines(told, backwards=True))


def _gutter(fragments: Sequence[Fragment], width: float) -> float | None:
    """The x in the middle fifth of the page that the fewest fragments cross, where few do and both sides are full."""
    candidates = [width * (0.4 + 0.01 * i) for i in range(21)]
    if len(fragments) < 2 * _FEWEST_LINES:
        return None
    crossing = {x: sum(f.x < x < f.right - f.size for f in fragments) for x in candidates}
    fewest = min(crossing.values())
    best = [x for x in candidates if crossing[x] == fewest]
    middle = best[len(best) // 2]
    left = {round(f.y) for f in fragments if f.right - f.size <= middle}
    right = {round(f.y) for f in fragments if f.x >= middle}
    full = min(len(left), len(right)) >= _FEWEST_LINES
    return middle if full and fewest <= len(fragments) // 10 else None


def _alternates(fragments: Sequence[Fragment], gutter: float) -> bool:
    """Whether the file goes to and fro between the sides, as it does where it tells line by line."""
    sides = [f.x >= gutter for f in fragments]
    changes = sum(a != b for a, b in pairwise(sides))
    return changes >= 2 * _FEWEST_LINES - 1


def _lines(fragments: Sequence[Fragment], backwards: bool) -> list[str]:
    """Lines from top to bottom, each from left to right, or from right to left."""
    lines: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda f: (-f.y, f.x)):
        if lines and abs(lines[-1][0].y - fragment.y) <= _SAME_LINE * fragment.size:
            lines[-1].append(fragment)
        else:
            lines.append([fragment])
    if not backwards:
        return [" ".join(f.text.strip() for f in sorted(line, key=lambda f: f.x)) for line in lines]
    # Of a line that was drawn at once every run has the line's x, in the order from left to right.
    from_the_right = (sorted(line, key=lambda f: f.x)[::-1] for line in lines)
    return [" ".join(fragment_in_reading_order(f.text.strip()) for f in line) for line in from_the_right]
