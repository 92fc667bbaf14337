"""Progress: silent where nobody looks, and one screen for bars inside bars."""

import io
import sys
import time

import pytest

from pennyweight.core.progress import progress_bar


class Terminal(io.StringIO):
    """What a test takes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("work", 10) as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_bar_inside_a_bar_is_a_line_of_the_same_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("sweep", 4, "chunks") as outer:
        outer(2)
        with progress_bar("Q4_K_M", 2**20) as inner:
            inner(2**19)
            time.sleep(0.3)  # the screen is drawn ten times a second
    drawn = terminal.getvalue()
    assert "sweep" in drawn
    assert "2/4 chunks" in drawn
    assert "0.5/1.0 MiB" in drawn
    with progress_bar("next", 3, "files"):
        pass
    assert "0/3 files" in terminal.getvalue(), "the screen was closed, and opens anew"


def test_an_error_inside_a_bar_closes_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ValueError, match="of the work"), progress_bar("one", 4), progress_bar("two", 4):
        raise ValueError("of the work")
    with progress_bar("again", 2, "files"):
        pass
    assert "0/2 files" in terminal.getvalue()
