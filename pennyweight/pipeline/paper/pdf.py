"""PDF → pages of lines, through pypdf."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pennyweight.core.errors import FormatError, Missing
from pennyweight.pipeline.paper.columns import Fragment, in_columns, lines_from_right
from pennyweight.pipeline.paper.direction import from_right, in_reading_order

Advance = Callable[[int], None]
Total = Callable[[int], None]

LONGEST_LINE = 1000
"""Letters of a fragment that is a line or less of a page."""

_MENDING = "if it is cut short fetch it again; qpdf in.pdf out.pdf mends some"


def open_pdf(path: Path) -> Any:
    """pypdf's reader. Raises: Missing; FormatError for what is broken, or encrypted with a password."""
    try:
        from pypdf import PdfReader
    except ImportError as error:
        raise Missing("PDF needs pypdf: pip install pypdf") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity; ours is one line, if it matters
    try:
        reader = PdfReader(path)
        locked = reader.is_encrypted and not reader.decrypt("")
        if not locked:
            len(reader.pages)
    except Exception as error:  # hostile files raise anything: recursion, keys, types, pypdf's own
        if "cryptography" in str(error):
            raise FormatError(
                f"{path} is encrypted with AES: with cryptography (pip install cryptography) it is read where it needs "
                f"no password, and qpdf --decrypt {path} open.pdf makes a copy without"
            ) from error
        raise FormatError(f"{path} is no PDF that can be read: {_reason(error)}; {_MENDING}") from error
    if locked:
        raise FormatError(f"{path} is encrypted with a password; qpdf --decrypt --password=… makes a copy without")
    return reader


def pdf_lines(reader: Any, path: Path, advance: Advance) -> tuple[list[str], list[int]]:
    """The lines of every page, in reading order, and the numbers of broken pages, which have none.

    Raises: FormatError where every page is broken.
    """
    pages, broken, reason = [], [], ""
    for number, page in enumerate(reader.pages, 1):
        try:
            pages.append(_page_lines(page))
        except Exception as error:  # noqa: BLE001 -- one broken page does not take the others with it
            reason = reason or _reason(error)
            broken.append(number)
            pages.append("")
        advance(1)
    if pages and len(broken) == len(pages):
        raise FormatError(f"{path} is no PDF that can be read: {reason}; {_MENDING}")
    return pages, broken


def _page_lines(page: Any) -> str:
    fragments: list[Fragment] = []
    left, width = float(page.mediabox.left), float(page.mediabox.width)

    def visit(text: str, transform: Any, matrix: Any, font: Any, size: float) -> None:
        if text.strip():
            x = matrix[4] * transform[0] + matrix[5] * transform[2] + transform[4]
            y = matrix[4] * transform[1] + matrix[5] * transform[3] + transform[5]
            fragments.append(Fragment(text=text, x=float(x) - left, y=float(y), size=abs(float(size)) or 10.0))

    told = page.extract_text(visitor_text=visit) or ""
    if any(len(fragment.text) > LONGEST_LINE for fragment in fragments):
        return in_reading_order(told)  # all of a page as one run has no places to go by
    if in_two := in_columns(fragments, width):
        return in_two
    return lines_from_right(fragments) or in_reading_order(told) if from_right(told) else told


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
