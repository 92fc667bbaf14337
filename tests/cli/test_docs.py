"""docs/cli.md says what `--help` says."""

import pytest

from scripts.make_cli_docs import PATH, page


def test_the_page_of_the_command_line_is_what_the_help_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert PATH.read_text(encoding="utf-8") == page(), (
        "docs/cli.md is not what the help says now; write it anew: python -m scripts.make_cli_docs"
    )
