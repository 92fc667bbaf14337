"""Perplexity by llama-perplexity's protocol (`evaluation.engine`): exp of the mean -log p of the scored tokens.

    PPL = exp(mean nll),   ± = PPL · sqrt(var(nll) / (count - 1))

Source: llama.cpp tools/perplexity/perplexity.cpp `perplexity`, "Final estimate".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.engine import LogitsEngine, cut, targets, with_bos
from pennyweight.evaluation.softmax import negative_log_likelihood, row_sums


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perplexity:
    """What was found, and by which protocol.

    Attributes:
        perplexity, stderr: exp(mean nll) and its standard error, as llama-perplexity prints them.
        tokens: scored tokens, n_ctx - 1 - n_ctx // 2 for each chunk.
        bos: the token each chunk started with, or None.
        engine: runtime and version.
        nll: float64 (tokens,), nats, in the order of the text.
    """

    perplexity: float
    stderr: float
    tokens: int
    chunks: int
    n_ctx: int
    bos: int | None
    engine: str
    nll: NDArray[np.float64]


def perplexity(
    engine: LogitsEngine,
    text: bytes,
    *,
    limit: int | None = None,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> Perplexity:
    """The perplexity of `text` under `engine`, over at most `limit` chunks; `advance` hears of chunks done.

    Raises: BadRequest where the text is shorter than two chunks; BadWeights where logits are not finite.
    """
    return perplexity_of_chunks(engine, cut(engine.tokenize(text), engine.n_ctx, limit), threads, advance)


def perplexity_of_chunks(
    engine: LogitsEngine,
    chunks: NDArray[np.int32],
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> Perplexity:
    """`perplexity` of tokens already cut into int32 (chunks, n_ctx)."""
    heard = Overheard(engine, threads)
    for logits in heard.scored_logits(with_bos(chunks, engine.bos)):
        advance(len(logits))
    return heard.perplexity()


class Overheard:
    """An engine that notes -log p of every scored token while somebody else reads its logits.

    So one pass gives a perplexity and a file of predictions. A `LogitsEngine`, with all of `engine`'s properties.
    """

    def __init__(self, engine: LogitsEngine, threads: int | None = None) -> None:
        self.engine, self._threads = engine, threads
        self.name, self.n_ctx, self.n_vocab = engine.name, engine.n_ctx, engine.n_vocab
        self.bos, self.vocabulary_hash = engine.bos, engine.vocabulary_hash
        self.tokenize = engine.tokenize
        self._nll: list[NDArray[np.float64]] = []

    def scored_logits(self, chunks: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
        """The engine's own, of int32 (chunks, n_ctx); what was noted before is forgotten."""
        self._nll, done = [], 0
        for logits in self.engine.scored_logits(chunks):
            rows = logits.reshape(-1, self.n_vocab)
            wanted = targets(chunks)[done : done + len(logits)].ravel()
            self._nll.append(negative_log_likelihood(rows, row_sums(rows, self._threads), wanted))
            done += len(logits)
            yield logits

    def perplexity(self) -> Perplexity:
        """Of everything that went by; at least one chunk must have."""
        nll = np.concatenate(self._nll)
        mean, stderr = mean_and_stderr(nll)
        return Perplexity(
            perplexity=float(np.exp(mean)),
            stderr=float(np.exp(mean) * stderr),
            tokens=nll.size,
            chunks=nll.size // (self.n_ctx - 1 - self.n_ctx // 2),
            n_ctx=self.n_ctx,
            bos=self.bos,
            engine=self.name,
            nll=nll,
        )


def mean_and_stderr(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of float64 (count,) and its standard error, sqrt(var / (count - 1)) with var over count; 0 below two."""
    count = len(values)
    return float(values.mean()), float(np.sqrt(values.var() / (count - 1))) if count > 1 else 0.0
