"""docs/formats.md says what `formats.ALL` says."""

from pathlib import Path

from pennyweight import formats

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_page_of_formats_has_every_format_with_its_numbers_in_order() -> None:
    wanted = [
        [f.name, f"{f.block_size}", f"{f.block_bytes}", f"{f.bits_per_weight:g}", "yes" if f.uses_importance else "no"]
        for f in formats.ALL
    ]
    _, table = PAGE.read_text(encoding="utf-8").split("\n|---|--:|--:|--:|---|---|\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n\n")[0].splitlines()]
    assert [row[:-1] for row in rows] == wanted, "the first table of docs/formats.md is not formats.ALL; mend its row"
    assert all(row[-1] for row in rows), "a format of docs/formats.md lacks what it is for"


def test_the_page_of_formats_names_what_is_only_read() -> None:
    _, rest = PAGE.read_text(encoding="utf-8").split("\nRead but not written")
    named = rest.split(":")[1].split(".\n")[0].replace("\n", " ").split(", ")
    assert [name.strip() for name in named] == [f.name for f in formats.FOREIGN]
