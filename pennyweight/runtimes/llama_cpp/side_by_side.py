"""Answers side by side, each in a sequence of its own: a step reads every weight once, and each of them goes on by it.

An answer is a generator. It yields the tokens that it wants read, its prompt first, and is sent the row of the logits
that follow them; what it returns is what was wanted of it. Where there are more answers than sequences, a sequence that
is free takes the next one.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.progress import progress_bar
from pennyweight.runtimes.llama_cpp.session import Clock, Session, read_next

T = TypeVar("T")
Answer = Generator[NDArray[np.int32], int, T]
"""Yields int32 (tokens,); is sent a row of the context's last logits, counted from the end."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What answers took so far, all together.

    Attributes:
        prompt_tokens: read, without those that a cache held.
        output_tokens: rows of logits that answers were sent, and so tokens that they drew.
        decode_tokens, decode_seconds: those among them that followed a step, and the steps' time, drawing included.
    """

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    output_tokens: int = 0
    decode_tokens: int = 0
    decode_seconds: float = 0.0


@dataclass(slots=True)
class _Turn:
    number: int
    answer: "Answer"
    wanted: NDArray[np.int32]


def side_by_side(
    sessions: Sequence[Session],
    answers: Sequence[Answer[T]],
    tally: Tally,
    finished: Callable[[int], None] = lambda answers: None,
) -> list[T]:
    """What `answers` return, in their order, in `sessions` of one context. `finished` is told of each that ends.

    Raises: DoesNotFit where a sequence is full; whatever an answer raises.
    """
    results: dict[int, T] = {}
    waiting, turns = deque(enumerate(answers)), dict[Session, _Turn]()

    def send(session: Session, turn: _Turn, row: int) -> None:
        tally.output_tokens += 1
        try:
            turn.wanted = turn.answer.send(row)
            turns[session] = turn
        except StopIteration as done:
            results[turn.number] = done.value
            turns.pop(session, None)
            finished(1)

    with ExitStack() as stack:
        for answer in answers:  # an answer may hold what C allocated
            stack.enter_context(closing(answer))
        while waiting or turns:
            for session in sessions:
                if waiting and session not in turns:
                    number, answer = waiting.popleft()
                    turn = _Turn(number, answer, next(answer))
                    _read(session, turn.wanted, tally)
                    send(session, turn, -1)
            going = [(session, turns[session]) for session in sessions if session in turns]
            if going:
                started = perf_counter()
                read_next([session for session, _ in going], [turn.wanted for _, turn in going])
                for row, (session, turn) in enumerate(going, -len(going)):
                    send(session, turn, row)
                tally.decode_tokens += len(going)
                tally.decode_seconds += perf_counter() - started
    return [results[number] for number in range(len(answers))]


def _read(session: Session, prompt: NDArray[np.int32], tally: Tally) -> None:
    clock = Clock()
    with progress_bar("reading", len(prompt), "tokens") as advance:  # and off the screen before a word is shown
        session.read(prompt, clock, advance)
    tally.prompt_tokens += clock.prompt_tokens
    tally.prompt_seconds += clock.prompt_seconds
