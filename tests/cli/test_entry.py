"""Ctrl-C and `kill` at awkward moments: twice, in the log of llama.cpp, at the end of an object's life."""

import ctypes
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from pennyweight.cli.entry import Interrupt, listen
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp import shared_object as module
from pennyweight.runtimes.llama_cpp.shared_object import library
from tests.cli.command import MAIN, process
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def handler() -> Iterator[Interrupt]:
    """Ours, for SIGUSR1, so that the runner's own Ctrl-C stays what it is."""
    interrupt = Interrupt()
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield interrupt
    signal.signal(signal.SIGUSR1, before)


def test_a_second_ctrl_c_does_not_interrupt_the_cleaning_up_and_a_later_one_is_heard(
    handler: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    monkeypatch.setattr("pennyweight.cli.entry.DEAF_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGUSR1)


class Thing:
    """Something that ends."""


def test_ctrl_c_at_the_end_of_an_object_s_life_is_heard_after_it(handler: Interrupt) -> None:
    weakref.finalize(Thing(), signal.raise_signal, signal.SIGUSR1)  # at once: nobody holds it, and nothing is raised
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_ctrl_c_as_c_calls_is_heard_when_it_has_returned(handler: Interrupt) -> None:
    def said_from_c() -> None:
        signal.raise_signal(signal.SIGUSR1)

    ctypes.CFUNCTYPE(None)(said_from_c)()  # nothing is raised inside, where ctypes would print it
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_an_interrupt_in_llama_cpp_s_log_is_raised_once_the_model_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    library()
    closed: list[Model] = []
    monkeypatch.setattr(Model, "close", lambda self, close=Model.close: (closed.append(self), close(self))[1])

    def interrupted(*line: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_keep_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Model.load(path)
    assert len(closed) == 1
    monkeypatch.undo()
    with Model.load(path) as model:
        assert model.facts.n_vocab


def test_an_ignored_sigint_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        listen()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert isinstance(signal.getsignal(signal.SIGTERM), Interrupt)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_summary_that_is_stopped_is_one_line_and_leaves_no_temporary_files(
    stop: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "paper.txt").write_text("The keeper of the harbour weighed the letters. " * 2000)
    (tmp_path / "t").mkdir()
    arguments = ("summarize", str(tmp_path / "paper.txt"), "-m", "embedded", "-t", "1")
    with process(*arguments, environment={"TMPDIR": str(tmp_path / "t")}) as working:
        assert working.stderr is not None
        while "noting" not in working.stderr.readline():
            assert working.poll() is None
        assert list((tmp_path / "t").iterdir()), "the embedded checkpoint's temporary GGUF is there"
        working.send_signal(stop)
        time.sleep(0.05)
        working.send_signal(stop)
        _, errors = working.communicate(timeout=60)
    assert errors == "pennyweight: interrupted; nothing half-written is left behind\n"
    assert list((tmp_path / "t").iterdir()) == []


def in_shell(redirection: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command under a redirection of its streams."""
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", MAIN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_stream_that_is_closed_is_as_one_that_leads_nowhere(tmp_path: Path) -> None:
    path = str(write_tiny_gguf(tmp_path / "model.gguf"))
    assert in_shell(">&-", "inspect", path) == (0, "", "")
    assert in_shell("2>&-", "inspect", str(tmp_path / "nothing.gguf")) == (2, "", "")
    code, _, errors = in_shell("<&-", "run", path)
    assert (code, errors.count("\n"), "stdin is empty" in errors) == (2, 1, True), errors
    assert in_shell(">&- 2>&- <&-", "inspect", path, "--json")[0] == 0
    own = (
        "import os, sys; from pennyweight.cli.entry import open_streams; open_streams(); print(os.open(sys.argv[1], 0))"
    )
    command = ["sh", "-c", '"$@" <&- 2>&-', "sh", sys.executable, "-c", own, path]
    assert int(subprocess.run(command, capture_output=True, check=True).stdout) > 2, "no file is taken for a stream"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_disk_that_is_full_under_stdout_is_one_line(more: list[str], tmp_path: Path) -> None:
    path = str(write_tiny_gguf(tmp_path / "model.gguf"))
    for arguments in (["inspect", path], ["plan", "Qwen3-8B", "--vram", "12GB", "--bandwidth", "360"]):
        code, _, errors = in_shell(">/dev/full", *arguments, *more)
        assert (code, errors.count("\n"), "No space left" in errors) == (2, 1, True), errors
