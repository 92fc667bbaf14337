"""One sequence that grows: what was read stays in the cache, answers are drawn from it, the clock is beside them.

A chat sends its whole history each turn; only what the cache does not hold yet is read.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.runtimes.llama_cpp.context import Context
from pennyweight.runtimes.llama_cpp.sampler import Sampler

Advance = Callable[[int], None]


class Stop(StrEnum):
    """Why an answer ended."""

    END = "end"  # the model's own end token
    LENGTH = "length"  # as many tokens as were asked for
    CONTEXT = "context"  # the context is full
    INTERRUPTED = "interrupted"


@dataclass(slots=True, kw_only=True)
class Clock:
    """What one answer took; filled while it is made.

    Attributes:
        prompt_tokens: read for this answer, without those that the cache held.
        cached_tokens: of the prompt, already there.
        prompt_seconds: reading, until the first token can be drawn.
        output_tokens: drawn.
        decode_tokens, decode_seconds: decoded one by one after the first was drawn, and their time.
        seconds_to_first_token: from the start of reading to the first token; None before it.
        stop: why it ended.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    output_tokens: int = 0
    decode_tokens: int = 0
    decode_seconds: float = 0.0
    seconds_to_first_token: float | None = None
    stop: Stop = Stop.LENGTH

    @property
    def prompt_tok_s(self) -> float | None:
        """Tokens read per second; None where all was cached."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_tokens else None

    @property
    def decode_tok_s(self) -> float | None:
        """Tokens per second after the first; None where there was only one."""
        return self.decode_tokens / self.decode_seconds if self.decode_tokens else None


class Session:
    """Sequence 0 of a context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._tokens, self._length = np.empty(context.n_ctx, np.int32), 0
        context.clear()

    @property
    def held(self) -> NDArray[np.int32]:
        """The tokens in the cache, int32, in order; a view."""
        return self._tokens[: self._length]

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.context.n_ctx - self._length

    def read(self, prompt: ArrayLike, clock: Clock, advance: Advance = lambda tokens: None) -> None:
        """Make the cache hold `prompt` (int (tokens,)), reading what it does not hold; the last token's logits remain.

        Raises: BadRequest for an empty prompt; DoesNotFit where it exceeds the context.
        """
        tokens = np.atleast_1d(np.asarray(prompt, np.int32))
        if not tokens.size:
            raise BadRequest("the prompt has no tokens; at least one is wanted")
        if len(tokens) > self.context.n_ctx:
            raise DoesNotFit(
                f"the prompt has {len(tokens):,} tokens and the context holds {self.context.n_ctx:,}; raise -c"
            )
        started = time.perf_counter()
        kept = self._keep_prefix(tokens)
        self._extend(tokens[kept:], advance)
        self.context.synchronize()
        clock.cached_tokens, clock.prompt_tokens = kept, len(tokens) - kept
        clock.prompt_seconds += time.perf_counter() - started

    def extend(self, tokens: ArrayLike) -> None:
        """Put `tokens` after what is held, as if the model had said them. Raises: DoesNotFit."""
        more = np.atleast_1d(np.asarray(tokens, np.int32))
        if len(more) > self.room:
            raise DoesNotFit(f"{len(more)} more tokens do not fit a context of {self.context.n_ctx:,}; raise -c")
        self._extend(more, lambda tokens: None)

    def answer(self, sampler: Sampler, count: int | None, clock: Clock, *, ignore_eos: bool = False) -> Iterator[int]:
        """Up to `count` tokens (None: until the context is full); the end token is not among them."""
        started = time.perf_counter()
        token = sampler.sample(self.context)
        clock.seconds_to_first_token = clock.prompt_seconds + time.perf_counter() - started
        first = time.perf_counter()
        while not self._ends(token, count, clock, ignore_eos):
            clock.output_tokens += 1
            yield token
            if clock.output_tokens == count:
                clock.stop = Stop.LENGTH
                return
            if not self.room:
                clock.stop = Stop.CONTEXT
                return
            self._decode_one(token)
            token = sampler.sample(self.context)
            clock.decode_tokens += 1
            clock.decode_seconds = time.perf_counter() - first

    def _ends(self, token: int, count: int | None, clock: Clock, ignore_eos: bool) -> bool:
        if count == 0:
            clock.stop = Stop.LENGTH
            return True
        if ignore_eos or not self.context.model.ends_generation(token):
            return False
        clock.stop = Stop.END
        return True

    def _decode_one(self, token: int) -> None:
        self.context.decode([token], [self._length])
        self._tokens[self._length] = token
        self._length += 1

    def _extend(self, tokens: NDArray[np.int32], advance: Advance) -> None:
        # Pieces of a micro-batch: Ctrl-C and the progress bar wait for one piece at most, and speed is the same.
        step = min(self.context.n_batch, self.context.settings.n_ubatch)
        for start in range(0, len(tokens), step):
            part = tokens[start : start + step]
            end = self._length + len(part)
            self.context.decode(part, np.arange(self._length, end), outputs=np.arange(len(part)) == len(part) - 1)
            self._tokens[self._length : end] = part
            self._length = end
            advance(len(part))

    def _keep_prefix(self, tokens: NDArray[np.int32]) -> int:
        """How many of `tokens` the cache holds already, all others forgotten; at least one is left to be read."""
        shortest = min(len(tokens) - 1, len(self.held))
        differs = np.flatnonzero(tokens[:shortest] != self.held[:shortest])
        kept = int(differs[0]) if differs.size else shortest
        if kept < len(self.held) and not self.context.model.rewinds(self.context.n_ctx):
            kept = 0
        if kept:
            self.context.truncate(kept)
        else:
            self.context.clear()
        self._length = kept
        return kept
