"""Where the command begins: Ctrl-C and `kill` are one line from the first import on, and once is enough."""

import signal
import sys
import threading
import time
from types import FrameType

DEAF_SECONDS = 0.5
"""How long a second signal is not heard: people press Ctrl-C twice, and the second would interrupt the cleaning up."""


class Interrupt:
    """A signal handler that raises KeyboardInterrupt, but not again while the first is being dealt with."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if now - self._last > DEAF_SECONDS:
            self._last = now
            raise KeyboardInterrupt


def listen() -> None:
    """Take SIGTERM as Ctrl-C, and Ctrl-C once; a SIGINT that is ignored (a shell's background job) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    interrupt = Interrupt()
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def main() -> None:
    """The command `pennyweight`."""
    listen()
    try:
        from pennyweight.cli.main import main as run
    except KeyboardInterrupt:
        print("pennyweight: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
