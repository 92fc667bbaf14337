"""The command line as tests meet it: in this process, or as a process of its own that can be signalled."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from pennyweight.cli.main import main

MAIN = "from pennyweight.cli.main import main; main()"
# A shell's background jobs inherit an ignored SIGINT, under which Python would never hear of Ctrl-C.
HEARS_CTRL_C = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {MAIN}"


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pennyweight", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code and the one line that a refusal is; nothing on stdout."""
    code = run(arguments, monkeypatch)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1), shown
    return code, shown.err


def on_terminal(*arguments: str, stdout_too: bool) -> tuple[str, str]:
    """What a person's terminal is sent, control sequences included, and stdout where that goes elsewhere."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 300, 0, 0))
    command = [sys.executable, "-c", HEARS_CTRL_C, *arguments]
    own = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    stdout = terminal if stdout_too else subprocess.PIPE
    with subprocess.Popen(command, stdout=stdout, stderr=terminal, env=own) as started:
        os.close(terminal)
        seen = bytearray()
        with suppress(OSError):  # Linux tells the end of a terminal as an error
            while piece := os.read(main, 1 << 16):
                seen += piece
        os.close(main)
        other = started.stdout.read() if started.stdout else b""
    assert started.returncode == 0, seen
    return seen.decode("utf-8", "replace"), other.decode()


@contextmanager
def process(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, on one thread, its streams as pipes; ended with the block."""
    command = [sys.executable, "-c", HEARS_CTRL_C, *arguments]
    own = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
                started.communicate()
