"""Work shared out to threads: kernels release the GIL, so a thread is a core."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Task = TypeVar("Task")

MOST_THREADS = 1024
"""More than any machine gains from, and far below where a system refuses to start another."""


def default_threads() -> int:
    """Cores this process may use (its affinity mask where the system has one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each_in_threads(function: Callable[[Task], None], tasks: Iterable[Task], threads: int) -> None:
    """Call `function` on every task, `threads` at a time; tasks are taken from the iterable one by one, in order.

    A thread starts with a task in hand, so there are never more of them than tasks, nor than `MOST_THREADS`. Nothing is
    queued ahead, so memory is what the calls under way hold. The first error (or Ctrl-C) stops the handing out
    of tasks, waits for the calls under way, and is raised.
    """
    source, lock, stop = iter(tasks), threading.Lock(), threading.Event()
    errors: list[BaseException] = []

    def take() -> tuple[Task] | None:
        with lock:
            return next(((task,) for task in source), None) if not stop.is_set() else None

    def work(taken: tuple[Task] | None) -> None:
        try:
            while taken is not None:
                function(taken[0])
                taken = take()
        except BaseException as error:  # noqa: BLE001 -- carried to the caller's thread, where it is raised
            errors.append(error)
            stop.set()

    workers: list[threading.Thread] = []
    try:
        while len(workers) < min(max(1, threads), MOST_THREADS) and (first := take()) is not None:
            worker = threading.Thread(target=work, args=(first,), daemon=True)
            worker.start()
            workers.append(worker)
        for worker in workers:
            while worker.is_alive():  # a bounded join, so that Ctrl-C is seen at once
                worker.join(0.1)
    except BaseException:
        stop.set()
        for worker in workers:
            worker.join()
        raise
    if errors:
        raise errors[0]
