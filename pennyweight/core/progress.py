"""Progress on stderr, and only on a terminal: a bar with what is done and the time left."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


@contextmanager
def progress_bar(label: str, total: int, unit: str = "bytes") -> Iterator[Advance]:
    """A bar over `total` units (`bytes`, or any word); the value is a function that advances it, from any thread."""
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = DownloadColumn(binary_units=True) if unit == "bytes" else MofNCompleteColumn()
    word = TextColumn("" if unit == "bytes" else unit)
    columns = (TextColumn("{task.description}"), BarColumn(), done, word, TimeRemainingColumn(compact=True))
    lock = threading.Lock()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(amount: int) -> None:
            with lock:
                bar.advance(task, amount)

        yield advance
