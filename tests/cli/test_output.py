"""What is printed is what a file says, however odd, and JSON that every reader takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pennyweight.cli.output import print_json, print_table


@dataclass(frozen=True)
class Result:
    value: Any


def test_a_table_shows_square_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[red]title", ("[bold]key", "value"), [("[dim]", "[INST] [/INST]")], left=("value",))
    printed = capsys.readouterr().out
    for text in ("[red]title", "[bold]key", "[dim]", "[INST] [/INST]"):
        assert text in printed


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("-inf"), np.float64("nan")])
def test_a_number_json_has_no_word_for_is_null_at_any_depth(number: float, capsys: pytest.CaptureFixture[str]) -> None:
    print_json(Result({"deep": [(1.5, number)], "place": Path("a")}))
    assert capsys.readouterr().out == '{"value": {"deep": [[1.5, null]], "place": "a"}}\n'


def test_a_string_that_is_not_utf_8_is_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = b"caf\xe9 \xc3\xa9".decode("utf-8", "surrogateescape")
    print_json(Result(text))
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"value": text}
