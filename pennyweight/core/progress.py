"""Progress on stderr, and only on a terminal: a bar with what is done and the time left; bars share one screen."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]

_screens: "list[Progress]" = []
"""The display that is on, if one is: a terminal has room for one, and a second would write over it."""


@contextmanager
def progress_bar(label: str, total: int, unit: str = "bytes") -> Iterator[Advance]:
    """A bar over `total` units (`bytes`, or any word); the value is a function that advances it, from any thread.

    Inside another bar it is a line below that one, gone when it ends.
    """
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    with _screen() as screen:
        task = screen.add_task(label, total=total, unit=unit)
        lock = threading.Lock()

        def advance(amount: int) -> None:
            with lock:
                screen.advance(task, amount)

        try:
            yield advance
        finally:
            screen.remove_task(task)


@contextmanager
def _screen() -> "Iterator[Progress]":
    if _screens:
        yield _screens[0]
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), _amount_column(), TimeRemainingColumn(compact=True))
    # What is printed on stdout stays there: Rich would write it to stderr with the bar, a line for every word.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as screen:
        _screens.append(screen)
        try:
            yield screen
        finally:
            _screens.clear()


def _amount_column():
    """`12/30 chunks`, or for bytes `3.1/16.0 MiB`."""
    from rich.progress import DownloadColumn, ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    in_bytes = DownloadColumn(binary_units=True)

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            unit = task.fields["unit"]
            return in_bytes.render(task) if unit == "bytes" else Text(f"{task.completed:.0f}/{task.total:.0f} {unit}")

    return Amount(table_column=Column(no_wrap=True))  # on a narrow terminal it is cut short, and one line stays one
