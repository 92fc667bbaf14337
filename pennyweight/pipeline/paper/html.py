"""HTML → text in paragraphs: what a reader sees, without navigation, scripts and styles. Standard library."""

from html.parser import HTMLParser

_HIDDEN = {
    "script",
    "style",
    "nav",
    "header",
    "footer",
    "aside",
    "noscript",
    "template",
    "svg",
    "head",
    "button",
    "annotation",  # a formula once more, in the language that it was written in
}
_BLOCKS = {
    *("p", "div", "section", "article", "main", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ul", "ol", "table", "tr"),
    *("blockquote", "pre", "figure", "figcaption", "dt", "dd", "br", "hr", "title"),
}
_CELLS = {"td", "th"}
_VOID = {"br", "hr", "img", "input", "meta", "link", "source", "wbr", "col", "area", "base", "embed", "param", "track"}


def html_text(html: str) -> str:
    """Paragraphs with a blank line between them. Broken markup is read as far as it makes sense."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    paragraphs = (" ".join(part.split()) for part in "".join(reader.parts).split("\n\n"))
    return "\n\n".join(part for part in paragraphs if part)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN and tag not in _VOID:
            self._hidden.append(tag)
        if tag in _BLOCKS:
            self.parts.append("\n\n")
        if tag in _CELLS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:  # tags that were left open inside it end with it
            del self._hidden[self._hidden.index(tag) :]
        if tag in _BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)
