"""Lines as printed → running text: hyphens mended, running heads and page numbers gone, references left out."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_REPEATS, _FEWEST = 0.3, 3
"""A head repeats on this share of the pages, and on at least this many."""

_EDGE = 2
"""Lines at the top and at the bottom of a page where heads and numbers stand."""

_HYPHEN = re.compile(r"(?<=\w)[-\u2010\u00ad]\n(\w)")
"""A word that goes on in the next line, where it goes on in small letters."""

_NUMBER_ALONE = re.compile(
    r"(?:page\s+)?[-–\s]*(?:\d{1,4}|[ivxlc]{1,7})[-–\s]*(?:\s*(?:of|/)\s*\d{1,4})?", re.IGNORECASE
)
_REFERENCES = re.compile(
    r"^[#* \t]{0,12}(?:\d+\.?[ \t]+|[IVX]+\.[ \t]+)?"
    r"(?:references|bibliography|works cited|literature cited|literatur(?:verzeichnis)?"
    r"|références|bibliographie|referencias|bibliograf[ií]a|referências|riferimenti|литература|список литературы"
    r"|参考文献|參考文獻|引用文献|참고\s?문헌|المراجع|المصادر|ביבליוגרפיה|מקורות)[:* \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_AFTER = re.compile(
    r"^[#* \t]{0,12}(?:(?i:appendix|appendices|anhang|annexe|supplement(?:ary)?\b).*"
    r"|[A-H][. ][ \t]*[A-Z][\w ’:–-]{3,60}[ \t]*)$",
    re.MULTILINE,
)
"""Where an appendix begins. A letter and a name with a comma or a full stop are the authors of an entry."""

# Arabic and Hebrew fonts name their joined shapes by letters of their own (U+FB1D to U+FDFF, U+FE70 to U+FEFC).
_SHAPES = (*map(chr, range(0xFB00, 0xFB07)), *map(chr, range(0xFB1D, 0xFE00)), *map(chr, range(0xFE70, 0xFEFD)))
_LIGATURES = {ord(letter): unicodedata.normalize("NFKC", letter) for letter in _SHAPES}

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028]")
_UNSEEN = dict.fromkeys((code for code in (*range(0x20), *range(0x7F, 0xA0), 0xAD) if chr(code) not in "\n\t"), "")
"""Control characters, and hyphens for line ends that did not come."""

_HALF = re.compile("[\ud800-\udfff]")

_IDEOGRAPH = r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
_BROKEN_BETWEEN_IDEOGRAPHS = re.compile(rf"(?<={_IDEOGRAPH})[ \t]*\n[ \t]*(?={_IDEOGRAPH})")
"""Chinese and Japanese put no space between words, so a line's end between two letters means nothing."""


def without_heads(pages: Sequence[str]) -> list[str]:
    """Pages of lines without running heads, running feet and page numbers.

    A line at a page's edge is one where the same words, digits aside, stand at the same edge of many pages; a number
    alone at an edge always is.
    """
    split = [page.split("\n") for page in pages]
    wanted = max(_FEWEST, round(_REPEATS * len(pages)))
    repeated = {
        edge: {
            words
            for words, times in Counter(w for lines in split for w in _edge(lines, edge)).items()
            if times >= wanted
        }
        for edge in (True, False)
    }
    return ["\n".join(_stripped(lines, repeated)) for lines in split]


def _edge(lines: Sequence[str], top: bool) -> set[str]:
    """The shapes of the lines at one edge."""
    filled = [line for line in lines if line.strip()]
    return {_shape(line) for line in (filled[:_EDGE] if top else filled[-_EDGE:])}


def _shape(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split()).lower())


def _stripped(lines: list[str], repeated: dict[bool, set[str]]) -> list[str]:
    filled = [i for i, line in enumerate(lines) if line.strip()]
    heads = [i for i in filled[:_EDGE] if _is_edge(lines[i], repeated[True])]
    feet = [i for i in filled[-_EDGE:] if _is_edge(lines[i], repeated[False])]
    gone = {*heads, *feet}
    return [line for i, line in enumerate(lines) if i not in gone]


def _is_edge(line: str, repeated: set[str]) -> bool:
    return _shape(line) in repeated or _NUMBER_ALONE.fullmatch(line.strip()) is not None


def running_text(lines: str) -> str:
    """Printed lines as paragraphs: ligatures and broken words mended, line ends that mean nothing gone."""
    text = _LINE_ENDS.sub("\n", _whole(lines)).translate(_LIGATURES)
    text = _HYPHEN.sub(lambda found: found[1] if found[1].islower() else found[0], text)
    text = _BROKEN_BETWEEN_IDEOGRAPHS.sub("", text)
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text.translate(_UNSEEN)))
    return "\n\n".join(part for part in paragraphs if part)


def _whole(text: str) -> str:
    """Halves of UTF-16 pairs, which some fonts' tables give, joined; � for one alone, which UTF-8 cannot say."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _HALF.search(text) else text


def without_references(pages: Sequence[str]) -> tuple[list[str], tuple[int, int] | None]:
    """Pages of lines without the list of references: from its heading, in the second half, to an appendix or the end.

    Returns: the pages, and the indices of the first and last page that lost something; None where none did.
    """
    start = _last_heading(pages)
    if start is None:
        return list(pages), None
    first, offset = start
    kept = [*pages[:first], pages[first][:offset]]
    for index in range(first, len(pages)):
        headings = _AFTER.finditer(pages[index], offset if index == first else 0)
        if after := next((found for found in headings if not _looks_cited(found[0])), None):
            tail = pages[index][after.start() :]
            kept = [*kept[:-1], kept[-1] + tail] if index == first else [*kept, tail]
            return [*kept, *pages[index + 1 :]], (first, index)
        if index > first:
            kept.append("")
    return kept, (first, len(pages) - 1)


def _last_heading(pages: Sequence[str]) -> tuple[int, int] | None:
    for index in range(len(pages) - 1, len(pages) // 2 - 1, -1):
        found = list(_REFERENCES.finditer(pages[index]))
        if found:
            return index, found[-1].start()
    return None


def _looks_cited(text: str) -> bool:
    """Whether this line is of an entry of the list itself: `Appendix of the Census, 1921.`, `C. Shannon and`."""
    return re.search(r"\b(?:19|20)\d\d\b|\s(?:and|und|et|y|&)\s*$", text) is not None
