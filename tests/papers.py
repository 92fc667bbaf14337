"""Generated papers: PDFs of as many pages as wanted, in one column or two, with what makes real ones hard to read."""

from collections.abc import Sequence
from pathlib import Path

from fpdf import FPDF

SENTENCES = (
    "The keeper of the harbour weighed the letters of the market",
    "the scales of the post office had been wrong by a third for many years",
    "we measured the traffic of the canal in the spring and again in the autumn",
    "nothing in the records explains the difference between the two counts",
    "a second series of weighings was made with the standard of the mint",
    "the error fell to a tenth when the beam was cleaned",
    "the merchants denied that they had known of it",
    "our results agree with those of the earlier survey",
)
HEAD, REFERENCES = "Journal of Weights and Measures 12 (1921)", "References"


def prose(page: int, words: int) -> str:
    """About `words` words about page `page`, no two pages alike."""
    parts, count, i = [], 0, page
    while count < words:
        sentence = SENTENCES[i % len(SENTENCES)]
        parts.append(f"{sentence[0].upper()}{sentence[1:]} in case {page * 100 + i % 97}.")
        count += len(sentence.split()) + 3
        i += 1 + page % 3
    return " ".join(parts)


def write_pdf(path: Path, pages: int = 40, words: int = 350, *, references: bool = True) -> Path:
    """A paper with running heads, page numbers, a hyphenated word on every page and a list of references at the end."""
    pdf = FPDF()
    pdf.set_auto_page_break(False)
    for number in range(1, pages + 1):
        pdf.add_page()
        pdf.set_font("Helvetica", size=8)
        pdf.text(20, 10, HEAD)
        pdf.text(105, 290, str(number))
        pdf.set_font("Times", size=10)
        pdf.set_xy(20, 20)
        if number == pages and references:
            pdf.multi_cell(
                170, 5, f"{REFERENCES}\n" + "\n".join(f"[{i}] A. Author, A book, 19{i:02}." for i in range(10, 40))
            )
        else:
            pdf.multi_cell(170, 5, prose(number, words) + f"\nThe weigh-\ning of page {number} ends here.")
    pdf.output(str(path))
    return path


def write_two_columns(path: Path, lines: int = 30) -> Path:
    """One page whose file tells line by line across both columns; every line says its column and number."""
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Times", size=10)
    pdf.text(30, 20, "A title that stands above both of the columns of this page and is long")
    for line in range(lines):
        for column, x in (("left", 20), ("right", 110)):
            pdf.text(x, 40 + 6 * line, f"{column} column says line {line} of it")
    pdf.output(str(path))
    return path


def write_scan(path: Path, pages: int = 3) -> Path:
    """Pages with lines drawn on them and no text."""
    pdf = FPDF()
    for _ in range(pages):
        pdf.add_page()
        pdf.line(10, 10, 200, 200)
    pdf.output(str(path))
    return path


def write_locked(path: Path, algorithm: str = "RC4-128", password: str = "secret") -> Path:
    """A PDF that wants a password; an empty one locks nothing but copying and printing, as publishers have it."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(write_pdf(path, 2)))
    writer.encrypt(password, owner_password="owner", algorithm=algorithm)
    writer.write(path)
    return path


def write_glyphs(path: Path, lines: Sequence[str]) -> Path:
    """One page of any script without a font file: two-byte codes, and a table that says which letter each is.

    Lines are drawn as given, from left to right: of Arabic or Hebrew give the letters as they stand on the page, the
    last of the line first.
    """
    from pypdf import PdfWriter
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject, StreamObject

    letters = sorted({letter for line in lines for letter in line})
    codes = {letter: f"{i:04x}" for i, letter in enumerate(letters, 1)}
    table = "\n".join(
        f"<{code}> <{letter.encode('utf-16-be', 'surrogatepass').hex()}>" for letter, code in codes.items()
    )

    def stream(text: str) -> StreamObject:
        made = StreamObject()
        made.set_data(text.encode())
        return made

    def name(text: str) -> NameObject:
        return NameObject(f"/{text}")

    writer = PdfWriter()
    page = writer.add_blank_page(595, 842)
    descendant = DictionaryObject(
        {name("Type"): name("Font"), name("Subtype"): name("CIDFontType2"), name("DW"): NumberObject(1000)}
    )
    mapping = (
        "/CIDInit /ProcSet findresource begin begincmap\n1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{len(codes)} beginbfchar\n{table}\nendbfchar\nendcmap end"
    )
    font = DictionaryObject(
        {
            name("Type"): name("Font"),
            name("Subtype"): name("Type0"),
            name("BaseFont"): name("Any"),
            name("Encoding"): name("Identity-H"),
            name("DescendantFonts"): ArrayObject([writer._add_object(descendant)]),
            name("ToUnicode"): writer._add_object(stream(mapping)),
        }
    )
    shown = "\n".join(
        f"BT /F 12 Tf 60 {780 - 18 * i} Td <{''.join(codes[letter] for letter in line)}> Tj ET"
        for i, line in enumerate(lines)
    )
    page[name("Resources")] = DictionaryObject({name("Font"): DictionaryObject({name("F"): writer._add_object(font)})})
    page[name("Contents")] = writer._add_object(stream(shown))
    writer.write(path)
    return path
