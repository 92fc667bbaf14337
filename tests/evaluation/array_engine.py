"""An engine whose logits are an array, so that statistics are tested without a model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayEngine:
    """Gives `logits`, float32 (chunks, scored, n_vocab), `abreast` chunks at a time, each overwriting the last."""

    logits: NDArray[np.float32]
    n_ctx: int
    tokens: NDArray[np.int32]
    abreast: int = 2
    bos: int | None = 0
    vocabulary_hash: str = "5e" * 32
    name: str = "an array"

    @property
    def n_vocab(self) -> int:
        return self.logits.shape[-1]

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        return self.tokens

    def scored_logits(self, chunks: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
        if self.bos is not None:
            assert (chunks[:, 0] == self.bos).all()
        buffer = np.empty((self.abreast, *self.logits.shape[1:]), np.float32)
        for start in range(0, len(chunks), self.abreast):
            group = self.logits[start : start + self.abreast][: len(chunks) - start]
            buffer.fill(np.nan)
            buffer[: len(group)] = group
            yield buffer[: len(group)]


def array_engine(
    chunks: int = 7, n_ctx: int = 16, n_vocab: int = 500, spread: float = 4.0, seed: int = 0, **changes: object
) -> ArrayEngine:
    """An engine of random, text-like (peaked) distributions and a random text."""
    rng = np.random.default_rng(seed)
    scored = n_ctx - 1 - n_ctx // 2
    return ArrayEngine(
        logits=(rng.standard_normal((chunks, scored, n_vocab)) * spread).astype(np.float32),
        n_ctx=n_ctx,
        tokens=rng.integers(1, n_vocab, chunks * n_ctx + 3).astype(np.int32),
        **changes,  # type: ignore[arg-type]
    )


def near(engine: ArrayEngine, distance: float, seed: int = 1, **changes: object) -> ArrayEngine:
    """An engine that differs from `engine` as a quantized model from its base: noise on every logit."""
    noise = np.random.default_rng(seed).standard_normal(engine.logits.shape) * distance
    fields = {"logits": (engine.logits + noise).astype(np.float32), "n_ctx": engine.n_ctx, "tokens": engine.tokens}
    return ArrayEngine(**(fields | changes))  # type: ignore[arg-type]


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """By definition, float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
