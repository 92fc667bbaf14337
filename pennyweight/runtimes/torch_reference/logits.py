"""Logits of any checkpoint through transformers' model classes: the reference that llama.cpp is compared with.

Weights are what the file decodes to and activations stay float32, while llama.cpp on a CPU also rounds the *input* of
every product with a quantized matrix to 8 bits (Q8_0, or Q8_K under K- and IQ-quants), and to 16 under F16. So the two
engines' perplexities of one file differ: on the embedded model by 0.0003 % under F16, by 0.05 % under Q8_0 and Q4_K_M.
That is what llama.cpp's rounding of activations costs, not an error (`tests/evaluation/test_engines_agree.py`).
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.core.errors import BadRequest
from pennyweight.runtimes.torch_reference.decoder import Decoder
from pennyweight.runtimes.torch_reference.hooks import Hooks
from pennyweight.runtimes.torch_reference.libraries import require_torch, versions
from pennyweight.runtimes.torch_reference.memory import Needs, Schedule, group_bytes, memory_budget, schedule
from pennyweight.runtimes.torch_reference.settings import TorchSettings, check_settings, device_of
from pennyweight.runtimes.torch_reference.tokens import Tokens, tokens_of

if TYPE_CHECKING:
    import torch

NO_HOOKS = Hooks()
USUAL = TorchSettings()

DIFFERS_FROM_LLAMA_CPP = (
    "llama.cpp rounds the inputs of a GGUF's quantized matrices to 8 bits, this engine does not, so that perplexities "
    "of one file differ by up to 0.5 %"
)
"""For a person who sees both engines' numbers."""


class TorchLogits:
    """The logits engine of any checkpoint (`pennyweight.evaluation.engine.LogitsEngine`); a context manager.

    Attributes:
        decoder: the model; `decoder.peak_weight_bytes` says what its weights took.
        schedule: whole or block by block, decided when the engine is made.
    """

    def __init__(self, checkpoint: Checkpoint, settings: TorchSettings = USUAL, hooks: Hooks = NO_HOOKS) -> None:
        """Open the model; weights are read when logits are first asked for.

        Raises: Missing without PyTorch; BadRequest, UnknownName for settings; UnsupportedModel, FormatError for a
            checkpoint that transformers' classes cannot take; DoesNotFit beyond the memory budget.
        """
        require_torch()
        check_settings(settings)
        import torch

        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.settings, self.device = settings, device_of(settings)
        dtype = torch.float32 if settings.dtype == "float32" else torch.bfloat16
        self.tokens: Tokens = tokens_of(checkpoint)
        self.decoder = Decoder(checkpoint, device=self.device, dtype=dtype, hooks=hooks, threads=settings.threads)
        self.schedule = self._schedule(dtype)

    @property
    def name(self) -> str:
        """Runtime and versions, for a measurement's record."""
        return f"{versions()} ({self.settings.dtype}, {self.device.type})"

    @property
    def n_ctx(self) -> int:
        """Tokens in a chunk."""
        return self.settings.n_ctx

    @property
    def n_vocab(self) -> int:
        """Width of a row of logits."""
        return self.decoder.config.vocabulary_size

    @property
    def bos(self) -> int | None:
        """The token that starts every chunk; None where the model adds none."""
        return self.tokens.bos

    @property
    def vocabulary_hash(self) -> str:
        """What the token ids mean."""
        return self.tokens.vocabulary_hash

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """The whole text as int32 (tokens,), BOS first where the model adds it; control tokens stay plain text."""
        return self.tokens.tokenize(text)

    def scored_logits(self, chunks: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
        """Logits at the scored positions n_ctx // 2 … n_ctx - 2 of int32 (chunks, n_ctx), a group of chunks at a time.

        Yields float32 (some chunks, n_ctx - 1 - n_ctx // 2, n_vocab), in order.
        """
        if chunks.ndim != 2 or chunks.shape[1] != self.n_ctx:
            raise BadRequest(f"chunks have shape {chunks.shape}, this engine reads (chunks, {self.n_ctx})")
        if chunks.size and not 0 <= chunks.min() <= chunks.max() < self.n_vocab:
            raise BadRequest(f"tokens {chunks.min()} … {chunks.max()} are outside the vocabulary of {self.n_vocab}")
        step = self.schedule.carried
        for start in range(0, len(chunks), step):
            groups = self._groups(chunks[start : start + step])
            yield from self._blockwise(groups) if self.schedule.blockwise else self._whole(groups)

    def regrouped(self) -> "TorchLogits":
        """The same weights, reading other numbers of chunks at once: how far float sums alone move a result.

        Both are closed by closing either.
        """
        twin = copy(self)
        group = 1 if self.settings.group > 1 else 2
        twin.settings = replace(self.settings, abreast=group)
        twin.schedule = replace(self.schedule, carried=max(group, self.schedule.carried // group * group))
        return twin

    def close(self) -> None:
        """Let go of the weights."""
        self.decoder.unload()

    def __enter__(self) -> "TorchLogits":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _whole(self, groups: Iterator["torch.Tensor"]) -> Iterator[NDArray[np.float32]]:
        for stage in self.decoder.stages:
            self.decoder.load(stage)
        for tokens in groups:
            hidden = self.decoder.embed(tokens)
            for block in self.decoder.stages[1:-1]:
                hidden = self.decoder.block(block, hidden)
            yield self._scored(hidden)

    def _blockwise(self, groups: Iterator["torch.Tensor"]) -> Iterator[NDArray[np.float32]]:
        embedding, *blocks, head = self.decoder.stages
        with self.decoder.loaded(embedding):
            carried = [self.decoder.embed(tokens) for tokens in groups]
        for block in blocks:
            with self.decoder.loaded(block):
                for i, hidden in enumerate(carried):
                    carried[i] = self.decoder.block(block, hidden)
        with self.decoder.loaded(head):
            while carried:
                yield self._scored(carried.pop(0))

    def _scored(self, hidden: "torch.Tensor") -> NDArray[np.float32]:
        logits = self.decoder.head(hidden, slice(self.n_ctx // 2, self.n_ctx - 1))
        return logits.float().cpu().numpy()  # statistics are float32 whatever the model computed in

    def _groups(self, chunks: NDArray[np.int32]) -> Iterator["torch.Tensor"]:
        import torch

        for start in range(0, len(chunks), self.settings.group):
            part = np.ascontiguousarray(chunks[start : start + self.settings.group], np.int64)
            yield torch.from_numpy(part).to(self.device)

    def _schedule(self, dtype: "torch.dtype") -> Schedule:
        sizes = [self.decoder.stage_bytes(stage) for stage in self.decoder.stages]
        config = self.decoder.config
        shared = sizes[0] if config.tied else 0
        needs = Needs(
            weights=sum(sizes) - shared,
            largest_stage=max(sizes),
            group=group_bytes(config, self.settings, dtype.itemsize),
            carried_chunk=self.n_ctx * config.embedding_length * dtype.itemsize,
        )
        return schedule(needs, self.settings, memory_budget(self.settings, self.device))
