"""Answers to many prompts, written side by side: whenever one is done, the next prompt takes its lane.

A step of decoding reads every weight once, however many lanes it serves. On one core of the portable wheel eight lanes
decode 1.4 to 1.5 times as many tokens a second as one (Q8_0 and F16 models of 80 and 150 MB, measured); two decode
fewer than one, since llama.cpp's matrix kernels start to pay at about four columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import DoesNotFit
from pennyweight.runtimes.llama_cpp.generate import Sampling, choose
from pennyweight.runtimes.llama_cpp.lanes import Lanes, LaneText

GREEDY = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What to continue, and when to stop.

    Attributes:
        prompt: int32 (n,), at least one token.
        count: most tokens to write.
        stops: byte strings that end the answer; they are not part of it.
        sampling: its seed belongs to this question alone, so that lanes never change an answer's randomness.
    """

    prompt: NDArray[np.int32]
    count: int
    stops: tuple[bytes, ...] = ()
    sampling: Sampling = GREEDY


class _Answer:
    """An answer being written in a lane."""

    def __init__(self, index: int, question: Question) -> None:
        self.index, self.question = index, question
        self.tokens, self.text = question.prompt, b""
        self.rng = np.random.default_rng(question.sampling.seed)

    def write(self, logits: NDArray[np.float32], lanes: Lanes) -> bool:
        """Choose the next token from float32 (n_vocab,) logits; whether the answer is done."""
        token = choose(logits, self.question.sampling, self.rng)
        if lanes.context.model.ends_generation(token):
            return True
        self.tokens = np.append(self.tokens, np.int32(token))
        self.text += lanes.context.model.piece(token)
        full = len(self.tokens) - len(self.question.prompt) >= self.question.count
        return full or any(stop in self.text for stop in self.question.stops)


def answer(
    lanes: Lanes, questions: Sequence[Question], advance: Callable[[int], None] = lambda done: None
) -> list[str]:
    """Answers in the order of `questions`, each cut before the first of its stops; bytes that are no UTF-8 show as �.

    Raises: DoesNotFit where a prompt and its answer exceed the lanes' context.
    """
    for question in questions:
        if len(question.prompt) + question.count > lanes.n_ctx:
            raise DoesNotFit(
                f"a prompt of {len(question.prompt)} tokens and an answer of {question.count} exceed the context of "
                f"{lanes.n_ctx}; raise -c"
            )
    texts = [""] * len(questions)
    # Sorted, so that a lane's next prompt begins like its last one; reversed, because the queue is taken from its end.
    order = sorted(range(len(questions)), key=lambda i: questions[i].prompt.astype(">i4").tobytes(), reverse=True)
    queue = [_Answer(index, questions[index]) for index in order]
    writing: list[_Answer | None] = [None] * lanes.count
    while queue or any(writing):
        writing = [one or (queue.pop() if queue else None) for one in writing]
        active = [(lane, one) for lane, one in enumerate(writing) if one]
        asked = [LaneText(lane=lane, tokens=a.tokens, first=len(a.tokens) - 1) for lane, a in active]
        for rows in lanes.read(asked):
            for owner, logits in zip(rows.texts, rows.logits, strict=True):
                lane, written = active[owner]
                if written.write(logits, lanes):
                    texts[written.index] = cut(written.text, written.question.stops).decode("utf-8", "replace")
                    writing[lane] = None
                    advance(1)
    return texts


def cut(text: bytes, stops: Sequence[bytes]) -> bytes:
    """`text` before the earliest of `stops`."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
