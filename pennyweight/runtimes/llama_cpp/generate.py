"""Tokens one after another: greedy, or sampled with temperature, top-k, top-p and min-p from a seeded generator."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.runtimes.llama_cpp.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen; temperature 0 takes the likeliest, and then nothing else matters.

    Attributes:
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: of those, keep the likeliest that together reach this probability.
        min_p: of those, keep the ones with at least this fraction of the likeliest one's probability.
    """

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, right, wanted in (
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or more"),
            ("top-k", self.top_k, 0 <= self.top_k < 2**31, "0 (all tokens) or more"),
            ("top-p", self.top_p, 0 < self.top_p <= 1, "more than 0, 1 at most"),
            ("min-p", self.min_p, 0 <= self.min_p <= 1, "0 to 1"),
        ):
            if not right:
                raise BadRequest(f"{name} is {value}; {wanted} is wanted")


def generate(
    context: Context, prompt: ArrayLike, count: int, sampling: Sampling | None = None, *, ignore_eos: bool = False
) -> Iterator[int]:
    """Read `prompt` (int (tokens,)) into a cleared context, then yield up to `count` tokens that follow.

    Stops early after a token that ends generation has been reached (it is not yielded), unless `ignore_eos`.
    Raises: BadRequest for an empty prompt; DoesNotFit where prompt and answer exceed the context.
    """
    tokens = np.atleast_1d(np.asarray(prompt, np.int32))
    if not tokens.size:
        raise BadRequest("the prompt has no tokens; at least one is wanted (BOS will do)")
    if len(tokens) + count > context.n_ctx:
        raise DoesNotFit(
            f"a prompt of {len(tokens)} tokens and {count} more need {len(tokens) + count}; "
            f"the context holds {context.n_ctx}; raise n_ctx"
        )
    return _tokens(context, tokens, count, sampling or Sampling(), ignore_eos)


def _tokens(
    context: Context, prompt: NDArray[np.int32], count: int, sampling: Sampling, ignore_eos: bool
) -> Iterator[int]:
    rng = np.random.default_rng(sampling.seed)
    read_prompt(context, prompt)
    for position in range(len(prompt), len(prompt) + count):
        token = choose(context.logits()[-1], sampling, rng)
        if context.model.ends_generation(token) and not ignore_eos:
            return
        yield token
        if position + 1 < len(prompt) + count:  # the last token's successor is nobody's wish
            context.decode([token], [position])


def read_prompt(context: Context, prompt: NDArray[np.int32]) -> None:
    """Clear the context and read `prompt`, n_batch tokens at a time; the logits of its last token remain."""
    context.clear()
    for start in range(0, len(prompt), context.n_batch):
        part = prompt[start : start + context.n_batch]
        places = np.arange(start, start + len(part))
        context.decode(part, places, outputs=places == len(prompt) - 1)


def choose(logits: NDArray[np.float32], sampling: Sampling, rng: np.random.Generator) -> int:
    """One token from float32 (n_vocab,) logits: top-k, then top-p, then min-p at temperature 1, then temperature.

    The order is llama.cpp's default chain, in which the temperature comes last.
    """
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    kept = len(logits) if sampling.top_k == 0 else min(sampling.top_k, len(logits))
    top = np.argpartition(logits, len(logits) - kept)[len(logits) - kept :]
    top = top[np.argsort(-logits[top], kind="stable")]
    values = logits[top].astype(np.float64)
    p = np.exp(values - values[0])
    before = np.cumsum(p) - p  # a token stays while those before it have not reached top_p yet
    keep = (before < sampling.top_p * p.sum()) & (p >= sampling.min_p * p[0])
    weights = np.exp((values[keep] - values[0]) / sampling.temperature)
    return int(rng.choice(top[keep], p=weights / weights.sum()))
