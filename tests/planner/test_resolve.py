"""MODEL as people write it → an anatomy."""

import json
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, FormatError, UnknownName
from pennyweight.models import catalogue
from pennyweight.models.embedded import EMBEDDED
from pennyweight.planner.resolve import resolve
from tests.tiny_gguf import write_tiny_gguf


@pytest.mark.parametrize("name", ["Qwen3-8B", "qwen3-8b", "Qwen/Qwen3-8B"])
def test_a_catalogue_name_in_any_case_or_a_repository(name: str) -> None:
    anatomy = resolve(name)
    assert (anatomy.name, anatomy.repository, anatomy.source) == ("Qwen3-8B", "Qwen/Qwen3-8B", "catalogue")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*Qwen3-8B"):
        resolve("Qwen3-8C")


def test_a_config_a_directory_and_a_gguf_of_one_model_agree(tmp_path: Path) -> None:
    of_directory = resolve(str(EMBEDDED))
    of_config = resolve(str(EMBEDDED / "config.json"))
    assert of_directory.tensors == of_config.tensors
    written = write_tiny_gguf(tmp_path / "tiny.gguf", layers=2, tied=True)
    of_file = resolve(str(written))
    assert of_file.known
    assert of_file.file_type is None
    assert [(b.key_width, b.value_width) for b in of_file.blocks] == [(128, 128)] * 2


def test_a_quantized_file_says_its_type(tmp_path: Path) -> None:
    assert resolve(str(write_tiny_gguf(tmp_path / "tiny.gguf", format="Q8_0"))).file_type == "Q8_0"


def test_what_is_not_there_or_not_json_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no such file"):
        resolve(str(tmp_path / "absent.gguf"))
    (tmp_path / "config.json").write_text("[1", encoding="utf-8")
    with pytest.raises(FormatError, match="is not JSON"):
        resolve(str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text(json.dumps(catalogue.get("Qwen3-8B").fields | {"vocab_size": None}))
    with pytest.raises(FormatError, match=r"config\.json lacks vocab_size"):
        resolve(str(tmp_path))
