"""One sequence that grows: what was read stays in the cache, answers are drawn from it, the clock is beside them.

A chat sends its whole history each turn; only what the cache does not hold yet is read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
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
    """One sequence of a context, which others may share."""

    def __init__(self, context: Context, sequence: int = 0) -> None:
        """An empty one. Raises: BadRequest for a sequence that the context does not have."""
        self.context, self.sequence = context, sequence
        self._tokens, self._length = np.empty(context.n_ctx, np.int32), 0
        context.truncate(0, sequence)

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
            read_next([self], [np.array([token], np.int32)])
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

    def _extend(self, tokens: NDArray[np.int32], advance: Advance) -> None:
        # Pieces of a micro-batch: Ctrl-C and the progress bar wait for one piece at most, and speed is the same.
        step = min(self.context.n_batch, self.context.settings.n_ubatch)
        for start in range(0, len(tokens), step):
            part = tokens[start : start + step]
            end = self._length + len(part)
            last = np.arange(len(part)) == len(part) - 1
            self.context.decode(part, np.arange(self._length, end), self.sequence, last)
            self._hold(part)
            advance(len(part))

    def _hold(self, tokens: NDArray[np.int32]) -> None:
        end = self._length + len(tokens)
        self._tokens[self._length : end] = tokens
        self._length = end

    def _keep_prefix(self, tokens: NDArray[np.int32]) -> int:
        """How many of `tokens` the cache holds already, all others forgotten; at least one is left to be read."""
        shortest = min(len(tokens) - 1, len(self.held))
        differs = np.flatnonzero(tokens[:shortest] != self.held[:shortest])
        kept = int(differs[0]) if differs.size else shortest
        if kept < len(self.held) and not self.context.model.rewinds(self.context.n_ctx):
            kept = 0
        self.context.truncate(kept, self.sequence)
        self._length = kept
        return kept


def read_next(sessions: Sequence[Session], pieces: Sequence[NDArray[np.int32]]) -> None:
    """Put each of `pieces`, int32 (tokens,), after what its session holds, all of them in one batch.

    The logits of each piece's last token remain, in the order of the sessions, which share a context.
    Raises: DoesNotFit where a session is full.
    """
    both = list(zip(sessions, pieces, strict=True))
    for session, piece in both:
        if len(piece) > session.room:
            raise DoesNotFit(f"{len(piece)} more tokens do not fit a context of {session.context.n_ctx:,}; raise -c")
    places = np.concatenate([np.arange(session._length, session._length + len(piece)) for session, piece in both])
    sequences = np.concatenate([np.full(len(piece), session.sequence) for session, piece in both])
    last = np.concatenate([np.arange(len(piece)) == len(piece) - 1 for piece in pieces])
    sessions[0].context.decode(np.concatenate(pieces), places, sequences, last)
    for session, piece in both:
        session._hold(piece)
