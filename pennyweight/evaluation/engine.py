"""What measures quality: anything that turns chunks of tokens into logits; and how llama-perplexity cuts the chunks.

A text is tokenized whole (BOS first where the model adds it) and cut into chunks of n_ctx tokens that do not overlap;
the rest is dropped. The first token of every chunk is overwritten by BOS where the model adds it. The model reads a
chunk from an empty context, and its predictions at positions n_ctx // 2 … n_ctx - 2 are scored: the first half is
context only.

Source: llama.cpp tools/perplexity/perplexity.cpp `perplexity`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest

LEAST_CTX = 4
"""Tokens of the shortest chunk that scores anything."""


class LogitsEngine(Protocol):
    """A model that scores chunks; `runtimes.llama_cpp.LlamaCppLogits` is one."""

    @property
    def name(self) -> str:
        """Runtime and version, for a measurement's record."""
        ...

    @property
    def n_ctx(self) -> int:
        """Tokens in a chunk."""
        ...

    @property
    def n_vocab(self) -> int:
        """Width of a row of logits."""
        ...

    @property
    def bos(self) -> int | None:
        """The token that starts every chunk; None where the model adds none."""
        ...

    @property
    def vocabulary_hash(self) -> str:
        """`runtimes.vocabulary.vocabulary_hash`."""
        ...

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """The whole text as int32 (tokens,), BOS first where the model adds it; control tokens stay plain text."""
        ...

    def scored_logits(self, chunks: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
        """float32 (some chunks, n_ctx - 1 - n_ctx // 2, n_vocab) at a time, in order, from int32 (chunks, n_ctx).

        What is yielded may be overwritten by the next; `chunks` are read as they are, BOS included.
        """
        ...


def read_text(path: Path) -> bytes:
    """A text file as llama.cpp's programs read it: bytes, UTF-8 or not, without one newline at the end."""
    try:
        return path.read_bytes().removesuffix(b"\n")
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read: {error.strerror}") from error


def cut(tokens: NDArray[np.int32], n_ctx: int, limit: int | None = None) -> NDArray[np.int32]:
    """int32 (tokens,) → (chunks, n_ctx), at most `limit` of them. Raises: BadRequest below two chunks."""
    if len(tokens) < 2 * n_ctx:
        shorter = f" or -c {len(tokens) // 2}" if len(tokens) >= 2 * LEAST_CTX else ""
        raise BadRequest(
            f"the text has {len(tokens)} tokens; a context of {n_ctx} needs at least {2 * n_ctx}: "
            f"take a longer text{shorter}"
        )
    if limit is not None and limit < 1:
        raise BadRequest(f"{limit} chunks asked for; at least 1 is wanted")
    count = min(len(tokens) // n_ctx, limit or len(tokens))
    return tokens[: count * n_ctx].reshape(count, n_ctx)


def with_bos(chunks: NDArray[np.int32], bos: int | None) -> NDArray[np.int32]:
    """The chunks as the model reads them: the first token of each replaced by BOS, where there is one."""
    if bos is None:
        return chunks
    read = chunks.copy()
    read[:, 0] = bos
    return read


def targets(chunks: NDArray[np.int32]) -> NDArray[np.int32]:
    """The tokens that scored positions predict: int32 (chunks, n_ctx - 1 - n_ctx // 2)."""
    return chunks[:, chunks.shape[1] // 2 + 1 :]


def shared_chunks(base: LogitsEngine, model: LogitsEngine, text: bytes, limit: int | None = None) -> NDArray[np.int32]:
    """The chunks that two models are compared on.

    Raises: BadRequest where their vocabularies differ, or they cut the text differently.
    """
    check_vocabulary(base.n_vocab, base.vocabulary_hash, model)
    tokens, others = base.tokenize(text), model.tokenize(text)
    if not np.array_equal(tokens, others):
        raise BadRequest(
            f"the two models tokenize this text differently ({len(tokens)} and {len(others)} tokens, the same "
            "vocabulary): another pre-tokenizer or other merges; KL divergence needs equal tokens"
        )
    return cut(tokens, base.n_ctx, limit)


def check_vocabulary(n_vocab: int, digest: str | None, model: LogitsEngine) -> None:
    """Raises: BadRequest where `model`'s token ids mean something else than the base's; a None digest is not known."""
    if n_vocab != model.n_vocab:
        raise BadRequest(
            f"BASE has a vocabulary of {n_vocab} tokens, MODEL of {model.n_vocab}; KL divergence needs the same one"
        )
    if digest is not None and digest != model.vocabulary_hash:
        raise BadRequest(
            f"BASE and MODEL have different vocabularies of {n_vocab} tokens (or BOS rules); "
            "KL divergence needs the same one"
        )
