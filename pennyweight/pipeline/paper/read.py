"""PAPER, as a user writes it → its text: what it is, is seen from its first bytes and its suffix."""

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.core.progress import progress_bar
from pennyweight.pipeline.paper.clean import running_text, without_heads, without_references
from pennyweight.pipeline.paper.document import Page, Paper, paginate
from pennyweight.pipeline.paper.html import html_text
from pennyweight.pipeline.paper.pdf import open_pdf, pdf_lines

MOST_BYTES = 1 << 30
_MARKDOWN, _HTML = {".md", ".markdown"}, {".html", ".htm", ".xhtml"}
_BINARY = (b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GGUF", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")
# Bounded, for a megabyte of brackets would otherwise be searched to its end from each of them.
_IMAGE = re.compile(r"!\[[^\[\]]{0,500}\]\([^()\n]{0,2000}\)")
_LINK = re.compile(r"\[([^\[\]]{0,500})\]\([^()\n]{0,2000}\)")
_CHARSETS = re.compile(
    rb"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-\d{3,4}|koi8-[rtu]|gb2312|gbk|gb18030|big5(?:-hkscs)?|shift[_-]jis"
    rb"|euc-(?:jp|kr)",
    re.IGNORECASE,
)
"""Encodings of papers; Python knows others that run long, or are none of text."""

_CHARSET = re.compile(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


def read_paper(path: str | Path, *, references: bool = False) -> Paper:
    """Read a PDF, Markdown, HTML or plain text.

    Args:
        references: keep the list of references, which is otherwise left out of a PDF or text and said to be.

    Raises: BadRequest (no such file, a URL, an empty file, another kind of file); FormatError (broken or encrypted PDF,
        a PDF without text).
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", str(path), re.IGNORECASE):
        raise BadRequest(f"{path} is an address; fetch it first (curl -LO {path}) and give the file")
    file = Path(path)
    if not file.is_file():
        raise BadRequest(f"{str(path)!r} {_instead(file)}; a paper is wanted: PDF, Markdown, HTML or text")
    size = file.stat().st_size
    if not 0 < size <= MOST_BYTES:
        raise BadRequest(f"{path} is {'empty' if not size else 'larger than 1 GiB'}; a paper is wanted")
    with file.open("rb") as opened:
        start = opened.read(1024)
    if b"%PDF-" in start:
        return _pdf(file, references)
    if file.suffix.lower() == ".pdf":
        raise FormatError(f"{path} is no PDF: it does not start with %PDF-")
    if start.startswith(_BINARY) or (b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise BadRequest(f"{path} is neither PDF, Markdown, HTML nor text")
    return _text(file, references)


def _instead(file: Path) -> str:
    """What a path is that is no file; an empty one means the directory one is in."""
    if file.is_dir():
        return "is a directory"
    return "is no regular file, save it as one" if file.exists() else "is not there"


def _pdf(path: Path, references: bool) -> Paper:
    reader = open_pdf(path)
    count = len(reader.pages)
    with progress_bar("reading the paper", count, "pages") as advance:
        lines, broken = pdf_lines(reader, path, advance)
    lines = without_heads(lines)
    if not any(page.strip() for page in lines):
        raise FormatError(
            f"{path}: {count} page{'s' * (count != 1)} and no text: scanned? ocrmypdf {path} with-text.pdf adds it"
        )
    notes = (f"{_pages(broken, count)} broken and left out",) if broken else ()
    return _paper(path, "PDF", lines, references, notes, broken)


def _text(path: Path, references: bool) -> Paper:
    text, notes = _decoded(path.read_bytes())
    if path.suffix.lower() in _HTML or re.match(r"\s*<(?:!doctype\s+html|html)\b", text[:500], re.IGNORECASE):
        kind, text = "HTML", html_text(text)
    elif path.suffix.lower() in _MARKDOWN:
        kind, text = "Markdown", _LINK.sub(r"\1", _IMAGE.sub("", text))
    else:
        kind = "text"
    if not text.strip():
        raise BadRequest(f"{path} has no text")
    pages = paginate(text)
    lines = [""] * max((page.number for page in pages), default=0)
    for page in pages:
        lines[page.number - 1] = page.text
    return _paper(path, kind, without_heads(lines) if "\f" in text else lines, references, notes)


def _pages(numbers: Sequence[int], count: int) -> str:
    """`page 3 of 40 is`, `pages 3, 7 of 40 are`."""
    listed = ", ".join(map(str, numbers[:8])) + " …" * (len(numbers) > 8)
    return f"pages {listed} of {count} are" if len(numbers) > 1 else f"page {listed} of {count} is"


def _paper(
    path: Path, kind: str, lines: list[str], references: bool, known: tuple[str, ...] = (), broken: Sequence[int] = ()
) -> Paper:
    notes, count = list(known), len(lines)
    if empty := [i for i, page in enumerate(lines, 1) if not page.strip() and i not in broken]:
        notes.append(f"{_pages(empty, count)} without text")
    cut = None
    if not references:
        lines, cut = without_references(lines)
        if cut:
            first, last = cut[0] + 1, cut[1] + 1
            where = f"page {first}" if first == last else f"pages {first} to {last}"
            notes.append(f"the references ({where}) are left out; --references keeps them")
    texts = [running_text(page) for page in lines]
    pages = tuple(Page(number=i, text=text) for i, text in enumerate(texts, 1) if text)
    if not pages:
        left_out = "references; --references keeps them" if cut else "numbers and blank space; a paper is wanted"
        raise FormatError(f"{path} has nothing but {left_out}")
    return Paper(source=str(path), kind=kind, pages=pages, page_count=count, notes=tuple(notes))


def _decoded(data: bytes) -> tuple[str, tuple[str, ...]]:
    """UTF-8, UTF-16 where a mark says so, what HTML says of itself, or Windows' Latin, which every byte string is.

    Returns: the text with its line ends as \\n, and what a reader should know of it.
    """
    text, notes = "", ()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            declared = _declared(data[:4096])
            text = data.decode(declared or "cp1252", "replace")
            if not declared:
                notes = ("it is not UTF-8 and was read as Windows-1252; iconv -t UTF-8 mends others",)
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _declared(start: bytes) -> str | None:
    """The encoding that HTML names in its first bytes, where it is one of papers and Python has it."""
    found = _CHARSET.search(start)
    if not found or not _CHARSETS.fullmatch(found[1]):
        return None
    try:
        return codecs.lookup(found[1].decode()).name
    except LookupError:
        return None
