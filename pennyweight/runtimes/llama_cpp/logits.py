"""Logits of many short texts at once: what perplexity and KL divergence read from llama.cpp."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, UnsupportedModel
from pennyweight.runtimes.llama_cpp.context import Context
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.settings import ContextSettings
from pennyweight.runtimes.llama_cpp.shared_object import BUILD


class LlamaCppLogits:
    """The logits engine of GGUF files (`pennyweight.evaluation.engine.LogitsEngine`); a context manager.

    Chunks of n_ctx tokens are read side by side, n_batch // n_ctx at a time, each from an empty context of its own, as
    llama-perplexity reads them; a chunk longer than n_batch is read in pieces.
    """

    def __init__(
        self, model: Model, *, n_ctx: int = 512, n_batch: int = 2048, n_ubatch: int = 512, threads: int | None = None
    ) -> None:
        if n_ctx < 4:
            raise BadRequest(f"a context of {n_ctx} tokens scores nothing; at least 4 are wanted")
        if model.facts.add_eos:
            raise UnsupportedModel(f"{model.path}: its tokenizer ends every text with EOS; perplexity is undefined")
        self.model, self.n_ctx = model, n_ctx
        self.abreast = max(1, n_batch // n_ctx)
        self.piece = n_ctx if n_batch >= n_ctx else n_batch
        self.context = Context(
            model,
            ContextSettings(
                n_ctx=n_ctx,
                n_batch=self.abreast * self.piece,
                n_ubatch=n_ubatch,
                n_seq_max=self.abreast,
                threads=threads,
            ),
        )

    @property
    def name(self) -> str:
        """Runtime and build, for a measurement's record."""
        return f"llama.cpp {BUILD}"

    @property
    def n_vocab(self) -> int:
        """Width of a row of logits."""
        return self.model.facts.n_vocab

    @property
    def bos(self) -> int | None:
        """The token that starts every chunk; None where the model adds none."""
        return self.model.facts.bos if self.model.facts.add_bos else None

    @property
    def vocabulary_hash(self) -> str:
        """What the token ids mean."""
        return self.model.vocabulary_hash

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """The whole text as int32 (tokens,), BOS first where the model adds it; control tokens stay plain text."""
        return self.model.tokenize(text, add_special=True)

    def scored_logits(self, chunks: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
        """Logits at the scored positions n_ctx // 2 … n_ctx - 2 of int32 (chunks, n_ctx), a few chunks at a time.

        Yields float32 (some chunks, n_ctx - 1 - n_ctx // 2, n_vocab), in order. Each is a view that the next one
        overwrites.
        """
        for start in range(0, len(chunks), self.abreast):
            group = chunks[start : start + self.abreast]
            yield self._read(group).reshape(len(group), -1, self.n_vocab)

    def _read(self, group: NDArray[np.int32]) -> NDArray[np.float32]:
        self.context.clear()
        places = np.arange(self.n_ctx)
        scored = (places >= self.n_ctx // 2) & (places < self.n_ctx - 1)
        kept = []
        for start in range(0, self.n_ctx, self.piece):
            part = slice(start, start + self.piece)
            width, count = len(places[part]), len(group)
            owners = np.repeat(np.arange(count), width)
            self.context.decode(
                group[:, part].ravel(), np.tile(places[part], count), owners, np.tile(scored[part], count)
            )
            if scored[part].any():
                kept.append(self.context.logits())
                if self.piece < self.n_ctx:  # the next piece would overwrite it; then there is one sequence only
                    kept[-1] = kept[-1].copy()
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def close(self) -> None:
        """Free the context; the model stays."""
        self.context.close()

    def __enter__(self) -> "LlamaCppLogits":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
