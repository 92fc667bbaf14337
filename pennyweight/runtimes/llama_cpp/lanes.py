"""Several texts side by side in one context, each lane re-reading only what differs from the text it held before.

Questions of a benchmark share long beginnings (the same examples, the same question with four endings). A lane keeps
the keys and values of the last text; the next one is read from the first token that differs. Sorted texts thus cost
about as much as the tree of their beginnings. One lane is one sequence of the context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.runtimes.llama_cpp.context import Context
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.settings import ContextSettings

BATCH = 512
"""Tokens of one `decode`, and so the most rows of logits in memory (0.3 GB with a vocabulary of 150,000)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LaneText:
    """A whole text for one lane: int32 (n,) tokens; logits are wanted from position `first` to the end."""

    lane: int
    tokens: NDArray[np.int32]
    first: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LaneRows:
    """Logits of some wanted positions.

    Attributes:
        texts: int (rows,), index into the texts given to `read`.
        positions: int (rows,), which token of that text; its logits foretell the next token.
        logits: float32 (rows, n_vocab), a view that the next rows overwrite.
    """

    texts: NDArray[np.int64]
    positions: NDArray[np.int64]
    logits: NDArray[np.float32]


class Lanes:
    """A context of `count` lanes, each for texts of up to `n_ctx` tokens; a context manager."""

    def __init__(self, model: Model, *, count: int, n_ctx: int, threads: int | None = None, batch: int = BATCH) -> None:
        """Allocate it. Raises: as `Context`."""
        batch = max(batch, count)
        self.context = Context(
            model, ContextSettings(n_ctx=n_ctx, n_batch=batch, n_ubatch=batch, n_seq_max=count, threads=threads)
        )
        self.count, self.n_ctx = count, n_ctx
        self.tokens_read = 0
        self._batch = batch
        self._rewinds = model.rewinds(n_ctx)
        self._held = [np.empty(0, np.int32) for _ in range(count)]

    def read(self, texts: Sequence[LaneText]) -> Iterator[LaneRows]:
        """Read at most one text per lane; yield the logits wanted, in the order of texts and positions.

        To be used up before the next call. Raises: BadRequest for two texts of one lane or nothing wanted of a text.
        """
        lanes = [text.lane for text in texts]
        if len(set(lanes)) < len(lanes) or any(not 0 <= text.first < len(text.tokens) for text in texts):
            raise BadRequest("one text per lane is read at a time, and each must want logits of a token it has")
        starts = [self._rewind(text) for text in texts]
        counts = [len(text.tokens) - start for text, start in zip(texts, starts, strict=True)]
        owners = np.repeat(np.arange(len(texts)), counts)
        places = np.concatenate([np.arange(start, len(t.tokens)) for t, start in zip(texts, starts, strict=True)])
        ids = np.concatenate([text.tokens[start:] for text, start in zip(texts, starts, strict=True)])
        wanted = places >= np.array([text.first for text in texts])[owners]
        for begin in range(0, len(ids), self._batch):
            part = slice(begin, begin + self._batch)
            self.context.decode(ids[part], places[part], np.array(lanes)[owners[part]], wanted[part])
            self.tokens_read += len(ids[part])
            if (rows := wanted[part]).any():
                yield LaneRows(texts=owners[part][rows], positions=places[part][rows], logits=self.context.logits())
        for text in texts:
            self._held[text.lane] = text.tokens

    def close(self) -> None:
        """Free the context; the model stays."""
        self.context.close()

    def __enter__(self) -> "Lanes":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _rewind(self, text: LaneText) -> int:
        """Forget what the lane holds beyond the beginning it shares with `text`; tokens that need no reading."""
        held = self._held[text.lane]
        shared = min(shared_beginning(held, text.tokens), text.first)  # what is wanted must be computed again
        if shared < len(held):
            shared = shared if self._rewinds else 0
            self.context.truncate(shared, text.lane)
        self._held[text.lane] = held[:shared]
        return shared


def shared_beginning(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """How many tokens two int32 (n,), (m,) texts have in common from their start."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length
