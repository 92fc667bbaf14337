"""Texts by name: what is asked of `datasets`, how the rows are joined, and one clear line where they cannot be had."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pennyweight.core.errors import BadRequest, Missing
from pennyweight.evaluation.texts import CALIBRATION, NAMED, text_bytes, text_name


class FakeDatasets(SimpleNamespace):
    """A `datasets` module whose `load_dataset` remembers what it was asked and gives `rows`."""

    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.rows, self.asked = rows, []

    def load_dataset(self, *arguments: str, **options: Any) -> Any:
        self.asked.append((arguments, options))
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows


def installed(monkeypatch: pytest.MonkeyPatch, rows: Any) -> FakeDatasets:
    module = FakeDatasets(rows)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_a_path_is_read_without_its_last_newline_as_llama_cpp_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(b"caf\xe9\n\n")
    assert text_bytes(file) == text_bytes(str(file)) == b"caf\xe9\n"
    assert text_name(file) == str(file)


def test_wikitext_2_is_the_raw_test_split_joined_by_blank_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": ""}, {"text": " = Robert Boulter = \n"}, {"text": " Robert Boulter é an actor .\n"}]
    module = installed(monkeypatch, rows)
    wanted = "\n\n = Robert Boulter = \n\n\n Robert Boulter é an actor .\n"
    assert text_bytes("wikitext-2") == wanted.encode()
    assert module.asked == [(("Salesforce/wikitext", "wikitext-2-raw-v1"), {"split": "test"})]
    assert "wikitext-2-raw-v1" in text_name("wikitext-2")


def test_c4_is_the_first_1100_documents_of_a_shard_that_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def documents() -> Iterator[dict[str, str]]:
        for number in range(5000):
            read.append(number)
            yield {"text": f"document {number}"}

    module = installed(monkeypatch, documents())
    data = text_bytes("c4")
    assert data.startswith(b"document 0 document 1 ")
    assert data.endswith(b" document 1099")
    assert len(read) == 1100
    ((arguments, options),) = module.asked
    assert arguments == ("allenai/c4",)
    assert options["streaming"] is True
    assert options["data_files"] == {"validation": "en/c4-validation.00000-of-00008.json.gz"}
    assert "1100 documents" in text_name("c4")


def test_a_calibration_text_is_the_training_part_of_a_set_and_shares_no_split_with_its_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = installed(monkeypatch, [{"text": f"row {i}"} for i in range(3000)])
    for name, documents in (("wikitext-2", 3000), ("c4", 2000)):
        assert text_bytes(name, CALIBRATION).endswith(f"row {documents - 1}".encode())
        assert "train" in text_name(name, CALIBRATION)
        assert text_name(name, CALIBRATION) != text_name(name)
    assert [options["split"] for _, options in module.asked] == ["train", "train"]
    assert module.asked[1][1]["data_files"] == {"train": "en/c4-train.00000-of-01024.json.gz"}
    assert {known.name for known in CALIBRATION} == {known.name for known in NAMED}


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        Missing, match=r"wikitext-2 comes through the datasets library: pip install 'pennyweight\[texts\]'"
    ):
        text_bytes("wikitext-2")


def test_offline_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ConnectionError("Couldn't reach 'Salesforce/wikitext' on the Hub\nand much more"))
    with pytest.raises(BadRequest) as caught:
        text_bytes("wikitext-2")
    assert str(caught.value) == (
        "cannot fetch wikitext-2 (Salesforce/wikitext): Couldn't reach 'Salesforce/wikitext' on the Hub; "
        "go online, or name a file"
    )


def test_a_stream_that_breaks_off_is_the_same_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[dict[str, str]]:
        yield {"text": "document"}
        raise TimeoutError

    installed(monkeypatch, broken())
    with pytest.raises(BadRequest, match=r"^cannot fetch c4 \(allenai/c4\): TimeoutError; go online, or name a file$"):
        text_bytes("c4")


def test_a_file_of_a_texts_name_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = installed(monkeypatch, [])
    monkeypatch.chdir(tmp_path)
    Path("c4").write_text("my own")
    assert text_bytes("c4") == b"my own"
    assert text_name("c4") == "c4"
    assert module.asked == []


def test_an_empty_text_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BadRequest, match=r"empty\.txt is empty"):
        text_bytes(tmp_path / "empty.txt")
    with pytest.raises(BadRequest, match="cannot be read: No such file"):
        text_bytes(tmp_path / "absent.txt")
