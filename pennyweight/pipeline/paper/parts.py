"""Pages → parts that fit a budget of tokens, cut between pages where that can be, else between paragraphs or words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pennyweight.pipeline.paper.document import Page

Count = Callable[[str], int]
"""Text → tokens."""


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
    pieces = [(piece, count(marked(piece)) + 1) for page in pages for piece in _pieces(page, budget // 3, count)]
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
    if count(marked(page)) < budget:
        yield page
        return
    text = page.text
    while text:
        end = len(text)
        while end > 1 and count(marked(Page(number=page.number, text=text[:end]))) >= budget:
            end = _cut(text, max(1, min(end - 1, end * 2 // 3)))
        yield Page(number=page.number, text=text[:end].strip())
        text = text[end:].lstrip()


def _cut(text: str, end: int) -> int:
    """Where to cut at or before `end`: after a paragraph, a sentence, a word, or there."""
    for mark in ("\n\n", ". ", "。", " "):
        found = text.rfind(mark, end // 2, end)
        if found > 0:
            return found + len(mark)
    return end
