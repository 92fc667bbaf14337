"""Threads share out tasks one by one, and the first error stops the rest."""

import threading

import pytest

from pennyweight.core.parallel import MOST_THREADS, each_in_threads


def test_every_task_is_done_once() -> None:
    done: list[int] = []
    each_in_threads(done.append, range(1000), threads=4)
    assert sorted(done) == list(range(1000))


def test_tasks_are_taken_only_when_a_thread_is_free() -> None:
    taken, running, most = 0, 0, 0
    lock = threading.Lock()

    def tasks():
        nonlocal taken, most
        for task in range(50):
            taken += 1
            most = max(most, taken - finished)
            yield task

    finished = 0

    def work(_: int) -> None:
        nonlocal finished, running
        with lock:
            finished += 1

    each_in_threads(work, tasks(), threads=2)
    assert finished == 50
    assert most <= 3, "more tasks were taken than threads could hold"


def test_the_first_error_stops_the_handing_out_and_is_raised() -> None:
    seen: list[int] = []

    def work(task: int) -> None:
        seen.append(task)
        if task == 10:
            raise ValueError("ten")

    with pytest.raises(ValueError, match="ten"):
        each_in_threads(work, range(100_000), threads=2)
    assert len(seen) < 100_000


def test_an_absurd_number_of_threads_starts_no_more_than_there_are_tasks() -> None:
    together = threading.Barrier(3)
    before, seen = threading.active_count(), list[int]()

    def work(_: int) -> None:
        together.wait(timeout=10)  # passes only where all three run at once
        seen.append(threading.active_count() - before)

    each_in_threads(work, range(3), threads=100_000_000)
    assert len(seen) == 3
    assert max(seen) <= 3 < MOST_THREADS
