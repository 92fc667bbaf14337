"""Where the command begins: Ctrl-C and `kill` are one line from the first import on, and once is enough."""

import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType

DEAF_SECONDS = 0.5
"""How long a second signal is not heard: people press Ctrl-C twice, and the second would interrupt the cleaning up."""

AGAIN_SECONDS = 0.02
"""When a signal comes again that could not be heard where it came."""


class Interrupt:
    """A signal handler that raises KeyboardInterrupt, but not again while the first is being dealt with."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if now - self._last <= DEAF_SECONDS:
            return
        if _would_be_lost(frame):
            main = threading.main_thread().ident or 0  # the thread that waits is to be woken, not the timer's own
            threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (main, number)).start()
            return
        self._last = now
        raise KeyboardInterrupt


def _would_be_lost(frame: FrameType | None) -> bool:
    """Whether Python would print an exception here and go on: at the end of an object's life, and in a call from C.

    A function that C calls has a name that ends in `_from_c`.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename == weakref.__file__ or code.co_name == "__del__" or code.co_name.endswith("_from_c"):
            return True
        frame = frame.f_back
    return False


def listen() -> None:
    """Take SIGTERM as Ctrl-C, and Ctrl-C once; a SIGINT that is ignored (a shell's background job) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    interrupt = Interrupt()
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def open_streams() -> None:
    """Make the null device of a stdin, stdout or stderr that is closed (`>&-`), or the next file opened would be it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 -- as long as the process
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 -- the same


def main() -> None:
    """The command `pennyweight`."""
    open_streams()
    listen()
    try:
        from pennyweight.cli.main import main as run
    except KeyboardInterrupt:
        print("pennyweight: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
