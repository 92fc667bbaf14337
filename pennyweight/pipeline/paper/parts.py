"""Pages → parts that fit a budget of tokens, cut between pages where that can be, else between paragraphs or words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pennyweight.core.progress import progress_bar
from pennyweight.pipeline.paper.document import Page

Count = Callable[[str], int]
"""Text → tokens."""

FILLED = 0.95
"""Of what a piece may have, what a guess at its letters aims at: one that misses is cut, and counted, again."""


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

    Pages are cut into pieces of an eighth of the budget where they are longer: whole, they would leave much of every
    part empty. A token may straddle two pieces, so a part can have a token less for each than the sum says, never more.
    """
    pieces = []
    with progress_bar("dividing the paper", len(pages), "pages") as advance:
        for page in pages:
            texts = _pieces(page.text, max(1, budget // 8), count)
            pieces += [(Page(number=page.number, text=text), count(text) + 1) for text in texts]
            advance(1)
    marks = {page.number: count(f"\n\n{marked(Page(number=page.number, text=''))}") for page in pages}
    total = sum(tokens for _, tokens in pieces) + sum(marks.values())
    even = -(-total // -(-total // budget)) if total > budget else budget
    return tuple(_grouped(pieces, marks, budget, even))


def _grouped(pieces: Sequence[tuple[Page, int]], marks: Mapping[int, int], budget: int, even: int) -> Iterator[Part]:
    held: list[Page] = []
    tokens = 0
    for piece, words in pieces:
        begins = not held or held[-1].number != piece.number
        more = words + begins * marks[piece.number]
        # Past the even share a part ends where that leaves it nearer to the share; past the budget it must.
        if held and (tokens + more > budget or tokens + more - even > max(0, even - tokens)):
            yield Part(pages=tuple(held))
            held, tokens, more = [], 0, words + marks[piece.number]
        held.append(piece)
        tokens += more
    if held:
        yield Part(pages=tuple(held))


def _pieces(text: str, most: int, count: Count) -> Iterator[str]:
    """The text, or pieces of it of at most so many tokens; counting them is what takes the time."""
    tokens = count(text)
    if tokens <= most or len(text) < 2:
        yield text
        return
    letters = -(-len(text) // -(-tokens // max(1, int(FILLED * most))))  # of a piece, if all letters took alike
    start = 0
    while start < len(text):
        ahead = text[start : start + letters]
        end = len(ahead) if start + letters >= len(text) else _cut(ahead, len(ahead))
        start += end
        if piece := ahead[:end].strip():
            yield from _pieces(piece, most, count)


def _cut(text: str, end: int) -> int:
    """Where to cut at or before `end`: after a paragraph, a sentence, a word, or there."""
    for mark in ("\n\n", ". ", "。", " "):
        found = text.rfind(mark, end // 2, end)
        if found > 0:
            return found + len(mark)
    return end
