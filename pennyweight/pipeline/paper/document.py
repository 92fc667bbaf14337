"""What a paper is once it has been read."""

from dataclasses import dataclass

PAGE_LETTERS = 3000
"""Letters of a page where a text has none: about 500 words of English."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its number as a reader counts (the first is 1), and its text in paragraphs."""

    number: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper's text.

    Attributes:
        source: the path as it was given.
        kind: `PDF`, `Markdown`, `HTML` or `text`.
        pages: those that have text, in order.
        page_count: pages of the file, empty ones included.
        notes: what was left out, and what a reader should know.
    """

    source: str
    kind: str
    pages: tuple[Page, ...]
    page_count: int
    notes: tuple[str, ...] = ()

    @property
    def letters(self) -> int:
        """Letters of all pages."""
        return sum(len(page.text) for page in self.pages)


def paginate(text: str) -> tuple[Page, ...]:
    """Pages of a text that has none: at form feeds, or else every `PAGE_LETTERS` letters, between paragraphs."""
    if "\f" in text:
        parts = [part.strip() for part in text.split("\f")]
    else:
        parts, page = [], ""
        for paragraph in (p for p in text.split("\n\n") if p.strip()):
            for piece in _pieces(paragraph):
                if page and len(page) + len(piece) > PAGE_LETTERS:
                    parts.append(page.strip())
                    page = ""
                page += piece + "\n\n"
        parts.append(page.strip())
    return tuple(Page(number=i, text=part) for i, part in enumerate(parts, 1) if part)


def _pieces(paragraph: str) -> list[str]:
    """A paragraph, cut between words where it is longer than a page; a word that long is cut anywhere."""
    pieces = []
    while len(paragraph) > PAGE_LETTERS:
        cut = paragraph.rfind(" ", PAGE_LETTERS // 2, PAGE_LETTERS)
        cut = PAGE_LETTERS if cut < 0 else cut
        pieces.append(paragraph[:cut])
        paragraph = paragraph[cut:].lstrip()
    return [*pieces, paragraph]
