"""Perplexity by llama-perplexity's protocol (`evaluation.engine`): exp of the mean -log p of the scored tokens.

    PPL = exp(mean nll),   ± = PPL · sqrt(var(nll) / (count - 1))

Source: llama.cpp tools/perplexity/perplexity.cpp `perplexity`, "Final estimate".
"""

from collections.abc import Callable
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
    nll = np.empty(targets(chunks).shape, np.float64)
    done = 0
    for logits in engine.scored_logits(with_bos(chunks, engine.bos)):
        part = slice(done, done + len(logits))
        rows = logits.reshape(-1, engine.n_vocab)
        wanted = targets(chunks)[part].ravel()
        nll[part] = negative_log_likelihood(rows, row_sums(rows, threads), wanted).reshape(len(logits), -1)
        done = part.stop
        advance(len(logits))
    mean, stderr = mean_and_stderr(nll.ravel())
    return Perplexity(
        perplexity=float(np.exp(mean)),
        stderr=float(np.exp(mean) * stderr),
        tokens=nll.size,
        chunks=len(chunks),
        n_ctx=chunks.shape[1],
        bos=engine.bos,
        engine=engine.name,
        nll=nll.ravel(),
    )


def mean_and_stderr(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of float64 (count,) and its standard error, sqrt(var / (count - 1)) with var over count; 0 below two."""
    count = len(values)
    return float(values.mean()), float(np.sqrt(values.var() / (count - 1))) if count > 1 else 0.0
