"""Papers as people have them: columns, hyphens, heads and references; and files that are no papers."""

import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.core.errors import BadRequest, FormatError, PennyweightError
from pennyweight.pipeline.paper.clean import running_text, without_heads, without_references
from pennyweight.pipeline.paper.columns import Fragment, in_columns, lines_from_right
from pennyweight.pipeline.paper.direction import in_reading_order
from pennyweight.pipeline.paper.document import PAGE_LETTERS, Page, paginate
from pennyweight.pipeline.paper.html import html_text
from pennyweight.pipeline.paper.parts import parts_of
from pennyweight.pipeline.paper.read import read_paper
from tests.papers import HEAD, write_glyphs, write_locked, write_pdf, write_scan, write_two_columns


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pdf(tmp_path_factory.mktemp("papers") / "paper.pdf", pages=6, words=60)


def test_every_page_has_its_text_under_its_number(pdf: Path) -> None:
    paper = read_paper(pdf)
    assert (paper.kind, paper.page_count, [page.number for page in paper.pages]) == ("PDF", 6, [1, 2, 3, 4, 5])
    for page in paper.pages:
        assert f"case {page.number * 100 + page.number % 97}." in page.text


def test_running_heads_and_page_numbers_are_gone(pdf: Path) -> None:
    for page in read_paper(pdf).pages:
        assert HEAD not in page.text
        assert not page.text.endswith(f" {page.number}")


def test_references_are_left_out_and_that_is_said(pdf: Path) -> None:
    paper, whole = read_paper(pdf), read_paper(pdf, references=True)
    assert "A. Author" not in "".join(page.text for page in paper.pages)
    assert "A. Author" in whole.pages[-1].text
    assert any("page 6" in note and "--references" in note for note in paper.notes)


def test_an_appendix_after_the_references_stays() -> None:
    pages = ["Body.", "More.", "End.\nReferences\n[1] A. Author. A book. 1920.\nAppendix A\nTables.", "Last."]
    kept, cut = without_references(pages)
    assert kept == ["Body.", "More.", "End.\nAppendix A\nTables.", "Last."]
    assert cut == (2, 2)


def test_authors_whose_name_begins_with_a_letter_are_no_appendix() -> None:
    entries = "A. Vaswani, N. Shazeer, N. Parmar, J. Uszkoreit, L. Jones\nand others. Attention. 2017.\nC. Shannon and"
    pages = ["Body.", f"End.\nReferences\n{entries}\nW. Weaver. A theory. 1949.", "B. Liskov. Data, 1987.\nOne more."]
    assert without_references(pages) == (["Body.", "End.\n", ""], (1, 2))
    pages[2] = "Appendix of the census, 1921.\nB. Liskov. Data.\nB Proof of the Lemma\nIt is plain."
    assert without_references(pages) == (["Body.", "End.\n", "B Proof of the Lemma\nIt is plain."], (1, 2))


def test_markdown_s_headings_are_read_as_others_are() -> None:
    for heading in ("## References", "# 7. Bibliography", "**References:**"):
        kept, cut = without_references(["Body.", f"End.\n{heading}\n- One, 1999.\n## Appendix\nTables."])
        assert (kept[1], cut) == ("End.\n## Appendix\nTables.", (1, 1)), heading


def test_the_word_references_in_the_first_half_cuts_nothing() -> None:
    pages = ["Intro\nReferences\nare a list.", "Body.", "Body.", "End."]
    assert without_references(pages) == (pages, None)


def test_two_columns_told_across_are_read_down(tmp_path: Path) -> None:
    text = read_paper(write_two_columns(tmp_path / "two.pdf")).pages[0].text
    order = [f"{column} column says line {line} of" for column in ("left", "right") for line in range(30)]
    assert text.startswith("A title")
    places = [text.index(line) for line in order]
    assert places == sorted(places)


def test_broken_words_are_joined_and_hyphens_of_their_own_stay() -> None:
    assert running_text("the weigh-\ning of state-of-the-art eﬃcient\nscales\n\nNext") == (
        "the weighing of state-of-the-art efficient scales\n\nNext"
    )
    assert running_text("Smith-\nJones") == "Smith- Jones"


def test_a_line_that_repeats_inside_pages_is_no_head() -> None:
    pages = [f"Head {i}\nfirst {'abcdef'[i]}\nthe same\nlast {'ghijkl'[i]}\nend {'mnopqr'[i]}" for i in range(6)]
    for i, page in enumerate(without_heads(pages)):
        assert page.split("\n") == [f"first {'abcdef'[i]}", "the same", f"last {'ghijkl'[i]}", f"end {'mnopqr'[i]}"]


def test_line_ends_of_every_system_part_words_and_what_cannot_be_seen_is_gone() -> None:
    assert running_text("one\rtwo\r\nthree\vfour\x0cfive\x85six") == "one two three four five six"
    assert running_text("the weigh\u00ading\x00 of\x07 it\x9f") == "the weighing of it"
    assert running_text("a\r\n\r\nb") == "a\n\nb"


def test_halves_of_letters_are_joined_or_marked(tmp_path: Path) -> None:
    assert running_text("\ud835\udc65 is \ud835 alone") == "𝑥 is � alone"
    text = read_paper(write_glyphs(tmp_path / "half.pdf", ["a half \ud835", "is none"])).pages[0].text
    assert text.encode() == "a half � is none".encode()


def test_cells_of_a_table_stay_apart_and_a_form_around_a_page_hides_nothing() -> None:
    assert html_text("<table><tr><td>1</td><td>25</td></tr><tr><th>3<td>4</table>") == "1 25\n\n3 4"
    assert html_text("<body><form action='x'><p>The page.</p></form></body>") == "The page."
    formula = (
        "<math><semantics><mi>α</mi><annotation encoding='application/x-tex'>\\alpha</annotation></semantics></math>"
    )
    assert html_text(f"<p>Of {formula} much.") == "Of α much."


def test_html_is_what_a_reader_sees() -> None:
    html = (
        "<html><head><title>T</title><style>p{}</style></head><nav>Menu</nav>"
        "<p>One&nbsp;two <b>three</b>.<p>Four<script>x()</script>"
    )
    assert html_text(html) == "One two three.\n\nFour"


def test_markdown_and_text_get_pages(tmp_path: Path) -> None:
    paragraph = "The scales were wrong again. " * 30
    markdown = tmp_path / "paper.md"
    markdown.write_text("# Title\n\n[A link](https://example.org) ![image](x.png)\n\n" + f"{paragraph}\n\n" * 12)
    paper = read_paper(markdown)
    assert (paper.kind, len(paper.pages)) == ("Markdown", paper.page_count)
    assert len(paper.pages) > 3
    assert "example.org" not in paper.pages[0].text
    feeds = tmp_path / "paper.txt"
    feeds.write_text("one\ftwo\fthree")
    assert [page.text for page in read_paper(feeds).pages] == ["one", "two", "three"]


def test_another_script_and_another_encoding_are_read(tmp_path: Path) -> None:
    path = tmp_path / "paper.txt"
    path.write_text("Весы показывали неверно. 天秤は三分の一だけ間違っていた。", encoding="utf-16")
    assert "天秤" in read_paper(path).pages[0].text
    path.write_bytes("größer".encode("cp1252"))
    assert read_paper(path).pages[0].text == "größer"


def test_an_encoding_that_html_names_is_taken_and_a_guessed_one_is_said(tmp_path: Path) -> None:
    path = tmp_path / "paper.html"
    for encoding, named, words in (
        ("gbk", "GBK", "港口的看守人称量了信件。"),
        ("big5", "big5", "港口的看守人量了信件。"),
        ("shift_jis", "Shift_JIS", "天秤は三分の一だけ間違っていた。"),
        ("koi8-r", "KOI8-R", "Весы показывали неверно."),
    ):
        path.write_bytes(f'<html><meta charset="{named}"><p>{words}'.encode(encoding))
        paper = read_paper(path)
        assert (paper.pages[0].text, paper.notes) == (words, ()), encoding
    for named in ("iso-8859-77", "unicode_escape", "zlib", "nonsense"):
        path.write_bytes(f"<html><meta charset={named}><p>größer".encode("cp1252"))
        paper = read_paper(path)
        assert paper.pages[0].text == "größer"
        assert "not UTF-8" in paper.notes[0]


def test_an_empty_page_of_a_text_keeps_the_others_numbers(tmp_path: Path) -> None:
    path = tmp_path / "paper.txt"
    path.write_text("one\f\f three\ffour\f")
    paper = read_paper(path)
    assert [(page.number, page.text) for page in paper.pages] == [(1, "one"), (3, "three"), (4, "four")]
    assert (paper.page_count, paper.notes) == (4, ("page 2 of 4 is without text",))
    path.write_text("1\f2\f3")
    with pytest.raises(FormatError, match="nothing but numbers"):
        read_paper(path)


def test_megabytes_of_brackets_and_of_fragments_come_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "paper.md"
    for piece in ("[", "![", "[x](", "![x]("):
        path.write_text(piece * 300_000 + " the end")
        assert read_paper(path).pages[-1].text.endswith("the end")
    fragments = [Fragment(text="word", x=(60, 400)[i % 2], y=800.0 - i // 2, size=10.0) for i in range(100_000)]
    below = Fragment(text="a line across the page, " * 4, x=60, y=-100_000.0, size=10.0)
    text = in_columns([*fragments, below], 600.0)
    assert text is not None
    assert text.count("word") == 100_000


def test_a_scan_says_so_with_its_pages(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"3 pages and no text.*ocrmypdf"):
        read_paper(write_scan(tmp_path / "scan.pdf"))


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_with_a_password_says_how_to_open_it_and_one_without_is_read(algorithm: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="encrypted with a password; qpdf"):
        read_paper(write_locked(tmp_path / "locked.pdf", algorithm))
    open_to_read = write_locked(tmp_path / "open.pdf", algorithm, password="")
    assert b"/Encrypt" in open_to_read.read_bytes()
    assert read_paper(open_to_read).pages == read_paper(write_pdf(tmp_path / "plain.pdf", 2)).pages


def test_aes_without_its_package_is_one_line_that_names_it(tmp_path: Path) -> None:
    path = write_locked(tmp_path / "aes.pdf", "AES-256", password="")
    code = (
        "import sys; sys.modules['cryptography'] = sys.modules['Crypto'] = None\n"
        f"from pennyweight.pipeline.paper.read import read_paper; read_paper({str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "FormatError" in done.stderr.splitlines()[-1]
    assert "encrypted with AES: with cryptography (pip install cryptography)" in done.stderr.splitlines()[-1]


def test_right_to_left_is_read_in_the_order_of_its_words(tmp_path: Path) -> None:
    lines = ["كان حارس الميناء يزن رسائل السوق", "وكانت الموازين خاطئة بمقدار الثلث", "שומר הנמל שקל את המכתבים"]
    path = write_glyphs(tmp_path / "right.pdf", [line[::-1] for line in lines])
    assert read_paper(path).pages[0].text == " ".join(lines)


def test_words_placed_one_by_one_and_numbers_between_them_are_read_from_the_right() -> None:
    words = ["كان", "حارس", "2019", "الميناء", "יזן"]
    placed = [Fragment(text=word, x=500.0 - 60 * i, y=700.0, size=12.0) for i, word in enumerate(words)]
    for order in (placed, placed[::-1]):  # the file's own
        assert lines_from_right(order) == " ".join(words)
    # A whole line: its runs from left to right, each spelled right, as pypdf gives it.
    assert in_reading_order("الميناء יזן 2019 كان حارس") == "كان حارس 2019 الميناء יזן"
    # As Chromium's PDF has it: the bracket before a word is the glyph of the one behind it.
    assert in_reading_order(" بالمئة )انظر الجدول(\n3.5 بمقدار") == "بالمئة (انظر الجدول)\nبمقدار 3.5"
    assert in_reading_order("Mostly Latin, one كان word") == "Mostly Latin, one كان word"


def test_columns_of_numbers_are_read_from_the_right_each_of_them_from_the_left(tmp_path: Path) -> None:
    rows = [f"الميناء {i}.5 {i + 3}.25- 1,{100 + i} حارس 7" for i in range(1, 5)]
    drawn = [" ".join(word if word[0].isdecimal() else word[::-1] for word in reversed(row.split())) for row in rows]
    assert read_paper(write_glyphs(tmp_path / "table.pdf", drawn)).pages[0].text == " ".join(rows)
    placed = [Fragment(text="3.25 1.5", x=100, y=700, size=12), Fragment(text="كان حارس", x=300, y=700, size=12)]
    assert lines_from_right(placed) == "كان حارس 1.5 3.25"
    assert in_reading_order("GPT 4 الميناء 2.5 1.5 كان حارس") == "كان حارس 1.5 2.5 الميناء GPT 4"


def test_arabic_in_the_shapes_of_its_font_is_spelled_in_letters(tmp_path: Path) -> None:
    assert running_text("\ufef1\ufedf\ufe8e\ufee3") == "\u064a\u0644\u0627\u0645"


def test_chinese_and_japanese_lines_join_without_a_space_and_others_with_one(tmp_path: Path) -> None:
    path = write_glyphs(tmp_path / "east.pdf", ["港口的看守人称量了", "信件。误差为三分之一，", "天秤は三分の一だけ"])
    assert read_paper(path).pages[0].text == "港口的看守人称量了信件。误差为三分之一，天秤は三分の一だけ"
    assert running_text("저울은\n틀렸다 in\nthe 港\nport") == "저울은 틀렸다 in the 港 port"


def test_cyrillic_and_greek_words_that_were_broken_are_joined(tmp_path: Path) -> None:
    path = write_glyphs(tmp_path / "north.pdf", ["Весы показыва-", "ли неверно. Ζυγα-", "ριά."])
    assert read_paper(path).pages[0].text == "Весы показывали неверно. Ζυγαριά."


def test_references_are_found_under_their_names_in_other_languages() -> None:
    for heading in ("参考文献", "Список литературы", "المراجع", "참고 문헌", "5. Referencias"):
        kept, cut = without_references(["Body.", f"End.\n{heading}\n[1] 1999."])
        assert (kept[1].strip(), cut) == ("End.", (1, 1)), heading


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("empty.pdf", b"", "is empty"),
        ("text.pdf", b"just text", "does not start with %PDF-"),
        ("cut.pdf", b"%PDF-1.7\n1 0 obj\n<<", "no PDF that can be read"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0", "neither PDF"),
        ("model.gguf", b"GGUF\3\0\0\0", "neither PDF"),
        ("blank.txt", b" \n\n \n", "no text"),
    ],
)
def test_what_is_no_paper_is_one_line(name: str, content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PennyweightError, match=named) as caught:
        read_paper(path)
    assert "\n" not in str(caught.value)


def test_an_address_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="curl -LO https://example"):
        read_paper("https://example.org/paper.pdf")
    with pytest.raises(BadRequest, match="is not there"):
        read_paper(tmp_path / "nothing.pdf")
    for path, named in ((tmp_path, "is a directory"), ("", "'' is a directory"), ("/dev/null", "no regular file")):
        with pytest.raises(BadRequest, match=named):
            read_paper(path)


def test_a_broken_page_is_said_and_the_others_are_read(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import NameObject, StreamObject

    writer = PdfWriter(clone_from=PdfReader(write_pdf(tmp_path / "whole.pdf", 4, references=False)))
    writer.add_blank_page()
    stream = StreamObject()
    stream._data = b"no LZW at all" * 9
    stream[NameObject("/Filter")] = NameObject("/NoSuchDecode")
    writer.pages[1][NameObject("/Contents")] = writer._add_object(stream)
    writer.write(tmp_path / "broken.pdf")
    paper = read_paper(tmp_path / "broken.pdf")
    assert [page.number for page in paper.pages] == [1, 3, 4]
    assert paper.notes == ("page 2 of 5 is broken and left out", "page 5 of 5 is without text")


def test_a_page_that_unpacks_to_more_than_memory_should_hold_is_one_line(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import NameObject, StreamObject

    writer = PdfWriter(clone_from=PdfReader(write_scan(tmp_path / "scan.pdf", 1)))
    stream = StreamObject()
    stream._data = zlib.compress(bytes(100 << 20), 9)
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    writer.pages[0][NameObject("/Contents")] = writer._add_object(stream)
    writer.write(tmp_path / "bomb.pdf")
    assert (tmp_path / "bomb.pdf").stat().st_size < 1 << 20
    with pytest.raises(FormatError, match="Limit reached"):
        read_paper(tmp_path / "bomb.pdf")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_pdf_never_escapes_as_anything_but_one_line(pdf: Path, seed: int) -> None:
    import random

    chance = random.Random(seed)
    data = bytearray(pdf.read_bytes())
    for _ in range(chance.randint(1, 60)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    damaged = pdf.with_name("damaged.pdf")
    damaged.write_bytes(bytes(data[: chance.randint(20, len(data))]))
    with suppress(PennyweightError):
        assert read_paper(damaged).letters


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab .\n", min_size=1, max_size=900), min_size=1, max_size=8), st.integers(40, 400))
def test_parts_fit_the_budget_and_lose_no_word(texts: list[str], budget: int) -> None:
    pages = [Page(number=i, text=text.strip() or "a") for i, text in enumerate(texts, 1)]
    parts = parts_of(pages, budget, len)
    for part in parts:
        assert len(part.text) <= budget
    together = "".join(page.text for part in parts for page in part.pages)
    assert "".join(together.split()) == "".join("".join(page.text.split()) for page in pages)
    assert [number for part in parts for number in part.numbers] == sorted(n for part in parts for n in part.numbers)


def test_pages_that_would_leave_parts_half_empty_are_cut_and_told_as_one_page_each() -> None:
    sentence = "Nine words stand in this sentence and it ends. "
    pages = [Page(number=i, text=(sentence * 12).strip()) for i in range(1, 13)]  # 562 letters, budgets of 900
    parts = parts_of(pages, 900, len)
    assert len(parts) == 8, "whole pages would take twelve parts"
    for part in parts:
        assert len(part.text) <= 900
        assert [part.text.count(f"[page {number}]") for number in part.numbers] == [1] * len(part.numbers)
        assert all(
            line.startswith(("[page", "Nine")) and line.endswith(("]", ".")) for line in part.text.split("\n") if line
        )
    assert len(parts_of(pages, 6000, len)) == 2
    assert {len(part.pages) for part in parts_of(pages, 6000, len)} == {6}, "pages small beside the budget stay whole"


@pytest.mark.parametrize("text", ["word " * 40_000, "x" * 200_000, "天" * 200_000, "a. " * 100_000 + "天" * 100_000])
def test_a_page_of_any_length_is_counted_a_few_times_and_no_more(text: str) -> None:
    counted = 0

    def count(words: str) -> int:
        nonlocal counted
        counted += len(words)
        return len(words.encode()) // 3 + 1

    parts = parts_of([Page(number=7, text=text.strip())], 700, count)
    assert counted < 6 * len(text)
    assert sum(count(part.text) for part in parts) >= 0.8 * 600 * (len(parts) - 1), "parts are well filled"
    assert all(count(part.text) <= 700 for part in parts)
    assert "".join("".join(page.text.split()) for part in parts for page in part.pages) == "".join(text.split())


@given(st.text("abc d\n", max_size=20000))
def test_pages_of_a_text_keep_its_words_and_their_size(text: str) -> None:
    pages = paginate(text)
    assert "".join("".join(page.text.split()) for page in pages) == "".join(text.split())
    assert all(len(page.text) <= PAGE_LETTERS + 2 for page in pages)
