"""How likely a model finds a text's continuation: what multiple-choice tasks are decided by.

    log p(tokens | context) = Σ_i log softmax(logits after everything before token i)[token i]

Texts are sorted and walked in lanes (`runtimes.llama_cpp.lanes`), so a beginning that many share is read once. A text
longer than the context loses its beginning, never what is scored, as lm-evaluation-harness has it.

Source: lm-evaluation-harness lm_eval/api/model.py `LM.loglikelihood`, `LM.loglikelihood_rolling`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.evaluation.softmax import row_sums
from pennyweight.runtimes.llama_cpp.lanes import LaneRows, Lanes, LaneText


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Continuation:
    """int32 (n,) context, at least one token (BOS will do), and int32 (m,) tokens to score after it, at least one."""

    context: NDArray[np.int32]
    tokens: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationScore:
    """Sum of log-probabilities in nats, and whether every token was the likeliest (greedy decoding would write it)."""

    log_likelihood: float
    greedy: bool


@dataclass(slots=True, kw_only=True, eq=False)
class _Reading:
    """One text to read, and what it decides: (request, start, tokens), where position start foretells tokens[0]."""

    tokens: NDArray[np.int32]
    targets: list[tuple[int, int, NDArray[np.int32]]] = field(default_factory=list)

    @property
    def first(self) -> int:
        return min(start for _, start, _ in self.targets)


def input_tokens(request: Continuation) -> int:
    """Tokens the model reads to score it all: everything but the last."""
    return len(request.context) + len(request.tokens) - 1


def rolling(tokens: NDArray[np.int32], prefix: int, n_ctx: int) -> list[Continuation]:
    """A text of int32 (n,) tokens as continuations of at most n_ctx inputs that score each token exactly once.

    The first window starts after `prefix` (BOS); each next one scores n_ctx tokens more after the last one before them,
    and the last is filled up with context on its left.
    """
    text = np.concatenate([np.array([prefix], np.int32), tokens])
    windows = []
    for start in range(1, len(text), n_ctx):
        stop = min(start + n_ctx, len(text))
        windows.append(Continuation(context=text[max(0, stop - n_ctx - 1) : start], tokens=text[start:stop]))
    return windows


def score_continuations(
    lanes: Lanes, requests: Sequence[Continuation], advance: Callable[[int], None] = lambda done: None
) -> list[ContinuationScore]:
    """Scores in the order of `requests`; `advance` is told of each request that is done.

    Raises: BadRequest for an empty context or continuation; DoesNotFit for a continuation longer than the context.
    """
    totals, greedy = np.zeros(len(requests)), np.ones(len(requests), bool)
    readings = _readings(requests, lanes.n_ctx)
    columns = np.array_split(np.arange(len(readings)), lanes.count)
    for step in range(len(columns[0])):
        now = [readings[column[step]] for column in columns if step < len(column)]
        texts = [LaneText(lane=lane, tokens=reading.tokens, first=reading.first) for lane, reading in enumerate(now)]
        for rows in lanes.read(texts):
            _add(rows, now, totals, greedy)
        advance(sum(len(reading.targets) for reading in now))
    return [
        ContinuationScore(log_likelihood=float(total), greedy=bool(all_top))
        for total, all_top in zip(totals, greedy, strict=True)
    ]


def _readings(requests: Sequence[Continuation], n_ctx: int) -> list[_Reading]:
    """Requests by the text the model must read, sorted so that neighbours share the longest beginnings."""
    found: dict[bytes, _Reading] = {}
    for index, request in enumerate(requests):
        count = len(request.tokens)
        if not len(request.context) or not count:
            raise BadRequest(f"request {index} has {len(request.context)} tokens of context and {count} to score")
        if count > n_ctx:
            raise DoesNotFit(f"a continuation of {count} tokens does not fit a context of {n_ctx}; raise -c")
        text = np.concatenate([request.context, request.tokens])[-(n_ctx + 1) : -1]
        key = text.astype(">i4").tobytes()  # big-endian: bytes then sort as the tokens do
        found.setdefault(key, _Reading(tokens=text)).targets.append((index, len(text) - count, request.tokens))
    return [found[key] for key in sorted(found)]


def _add(rows: LaneRows, now: Sequence[_Reading], totals: NDArray[np.float64], greedy: NDArray[np.bool_]) -> None:
    """Add to each request what these rows say about its tokens."""
    log_sums, best = row_sums(rows.logits).log_sum_exp, rows.logits.argmax(axis=1)
    for row, (owner, position) in enumerate(zip(rows.texts, rows.positions, strict=True)):
        for request, start, tokens in now[owner].targets:
            if start <= position < start + len(tokens):
                token = tokens[position - start]
                totals[request] += rows.logits[row, token] - log_sums[row]
                greedy[request] &= best[row] == token
