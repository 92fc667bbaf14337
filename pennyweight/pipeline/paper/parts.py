"""Pages → parts that fit a budget of tokens, cut between pages where that can be, else between paragraphs or words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pennyweight.core.progress import progress_bar
from pennyweight.pipeline.paper.document import Page

Count = Callable[[str], int]
"""Text → tokens."""


_FILLED = 0.95
"""Of a budget that a guess aims at: one that misses costs a count more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Consecutive pages, or pieces of pages, that are read at once."""

    pages: tuple[Page, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The page numbers, each once, in order."""
        return tuple(dict.fromkeys(page.number for page in self.pages))

    @property
    def text(self) -> str:
        """The pages with their numbers before them, as the model sees them; pieces of one page are told as one."""
        pages = groupby(self.pages, key=lambda page: page.number)
        return "\n\n".join(
            marked(Page(number=number, text=" ".join(page.text for page in pieces))) for number, pieces in pages
        )


def marked(page: Page) -> str:
    """`[page 3]` and the page."""
    return f"[page {page.number}]\n{page.text}"


def parts_of(pages: Sequence[Page], budget: int, count: Count) -> tuple[Part, ...]:
    """Parts of at most `budget` tokens each, about equally long, so that the last is no stub.

    A page that takes more than a third of the budget is cut: whole, such pages would leave much of every part empty.
    A token may straddle two pages, so a part can have a token less for each page than the sum says, never more.
    """
    pieces = []
    with progress_bar("dividing the paper", len(pages), "pages") as advance:
        for page in pages:
            pieces += [(piece, count(marked(piece)) + 1) for piece in _pieces(page, budget // 3, count)]
            advance(1)
    total = sum(tokens for _, tokens in pieces)
    even = -(-total // -(-total // budget)) if total > budget else budget
    return tuple(_grouped(pieces, budget, even))


def _grouped(pieces: Sequence[tuple[Page, int]], budget: int, even: int) -> Iterator[Part]:
    held: list[Page] = []
    tokens = 0
    for piece, length in pieces:
        # Past the even share a part ends where that leaves it nearer to the share; past the budget it must.
        over = tokens + length - even
        if held and (tokens + length > budget or (over > 0 and over > even - tokens)):
            yield Part(pages=tuple(held))
            held, tokens = [], 0
        held.append(piece)
        tokens += length
    if held:
        yield Part(pages=tuple(held))


def _pieces(page: Page, budget: int, count: Count) -> Iterator[Page]:
    """The page, or pieces of it that fit."""
    whole = count(marked(page))
    if whole < budget:
        yield page
        return
    frame = count(marked(Page(number=page.number, text="")))
    start, letters = 0, len(page.text) / whole  # of a token, so far: counting tokens is what takes the time
    while start < len(page.text):
        text = page.text[start : start + max(1, int(_FILLED * (budget - frame) * letters))]
        end = len(text) if start + len(text) == len(page.text) else _cut(text, len(text))
        while (tokens := count(marked(piece := _piece(page, text[:end])))) >= budget and end > 1:
            end = _cut(text, max(1, min(end - 1, int(_FILLED * end * (budget - frame) / tokens))))
        letters = end / max(1, tokens - frame)
        start += end
        if piece.text:
            yield piece


def _piece(page: Page, text: str) -> Page:
    return Page(number=page.number, text=text.strip())


def _cut(text: str, end: int) -> int:
    """Where to cut at or before `end`: after a paragraph, a sentence, a word, or there."""
    for mark in ("\n\n", ". ", "。", " "):
        found = text.rfind(mark, end // 2, end)
        if found > 0:
            return found + len(mark)
    return end
