"""Answers from the PyTorch engine: `llama_cpp.session` for checkpoints that llama.cpp cannot load."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight import kernels
from pennyweight.core.errors import BadRequest, DoesNotFit, UnknownName
from pennyweight.formats import ALL
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Advance, Clock, Stop
from pennyweight.runtimes.torch_reference.decoder import Decoder
from pennyweight.runtimes.torch_reference.hooks import GrowingCache, KeysValues

if TYPE_CHECKING:
    import torch

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""llama.cpp's names; the cache holds what each decodes to."""


class TorchSession:
    """One sequence through a decoder whose weights are all in memory.

    Attributes:
        n_ctx: tokens that it may hold.
    """

    def __init__(self, decoder: Decoder, vocabulary: Model, n_ctx: int, keys_values: KeysValues | None = None) -> None:
        self._decoder, self._vocabulary, self._hook = decoder, vocabulary, keys_values
        self.n_ctx, self._length = n_ctx, 0
        self._cache = GrowingCache(keys_values)
        self._logits: NDArray[np.float32] | None = None
        for stage in decoder.stages:
            decoder.load(stage)

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.n_ctx - self._length

    def read(self, prompt: ArrayLike, clock: Clock, advance: Advance = lambda tokens: None) -> None:
        """Read int (tokens,) from an empty cache. Raises: BadRequest for an empty prompt; DoesNotFit."""
        tokens = np.atleast_1d(np.asarray(prompt, np.int32))
        if not tokens.size:
            raise BadRequest("the prompt has no tokens; at least one is wanted")
        if len(tokens) > self.n_ctx:
            raise DoesNotFit(f"the prompt has {len(tokens):,} tokens and the context holds {self.n_ctx:,}; raise -c")
        started = time.perf_counter()
        self._cache, self._length = GrowingCache(self._hook), 0
        self._compute(tokens)
        advance(len(tokens))
        clock.cached_tokens, clock.prompt_tokens = 0, len(tokens)
        clock.prompt_seconds += time.perf_counter() - started

    def answer(self, sampler: Sampler, count: int | None, clock: Clock, *, ignore_eos: bool = False) -> Iterator[int]:
        """As `llama_cpp.session.Session.answer`."""
        started = time.perf_counter()
        token = self._choose(sampler)
        clock.seconds_to_first_token = clock.prompt_seconds + time.perf_counter() - started
        first = time.perf_counter()
        while count != 0:
            if self._vocabulary.ends_generation(token) and not ignore_eos:
                clock.stop = Stop.END
                return
            clock.output_tokens += 1
            yield token
            if clock.output_tokens == count or not self.room:
                clock.stop = Stop.LENGTH if clock.output_tokens == count else Stop.CONTEXT
                return
            self._compute(np.array([token], np.int32))
            token = self._choose(sampler)
            clock.decode_tokens += 1
            clock.decode_seconds = time.perf_counter() - first

    def _choose(self, sampler: Sampler) -> int:
        if self._logits is None:
            raise ValueError("nothing was read yet")
        return sampler.choose(self._logits)

    def _compute(self, tokens: NDArray[np.int32]) -> None:
        import torch

        ids = torch.from_numpy(tokens.astype(np.int64))[None].to(self._decoder.device)
        hidden = self._decoder.embed(ids)
        for stage in self._decoder.stages[1:-1]:
            hidden = self._decoder.block(stage, hidden, self._cache, self._length)
        last = self._decoder.head(hidden, slice(len(tokens) - 1, len(tokens)))
        self._logits = last[0, 0].float().cpu().numpy()
        self._length += len(tokens)


def stored_as(type_k: str, type_v: str) -> KeysValues | None:
    """A hook that keeps keys and values as llama.cpp's cache types would; None for f32, which is what they are.

    Each head's vector of a token is a row of blocks, as in llama.cpp, which also rotates them first where the type is
    quantized; that is not done here.

    Raises: UnknownName.
    """
    for name in (type_k, type_v):
        if name not in CACHE_TYPES:
            raise UnknownName.among("cache type", name, CACHE_TYPES)
    if (type_k, type_v) == ("f32", "f32"):
        return None
    keep_keys, keep_values = _rounding(type_k), _rounding(type_v)
    return lambda block, keys, values: (keep_keys(keys), keep_values(values))


def _rounding(name: str) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    found = next(format for format in ALL if format.name == name.upper())

    def rounded(x: "torch.Tensor") -> "torch.Tensor":
        import torch

        width = x.shape[-1]
        if width % found.block_size:
            raise BadRequest(f"a {name} cache needs heads in multiples of {found.block_size}, these are {width} wide")
        rows = np.ascontiguousarray(x.float().cpu().numpy().reshape(-1, width), np.float32)
        kept = kernels.decode(found, kernels.encode(found, rows))
        return torch.from_numpy(kept).reshape(x.shape).to(x)

    return rounded
