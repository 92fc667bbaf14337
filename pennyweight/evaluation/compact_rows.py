"""One row of predictions in a tenth of llama.cpp's: the likeliest tokens, the mass of the rest and a sample of it.

A row of n_vocab logits becomes

    nll     float32   -log p of the token that came
    top     float32   log p of the likeliest token
    step    float32   log p of the token of rank j is top - step · code[j]
    tail    float32   log of the mass T of all tokens that are not listed; -inf where there is none
    ids, codes        top_k tokens, the likeliest first: uint16 or uint32, and uint16
    drawn, log_p      tokens drawn from the tail with probability p / T, and their log p, float32

and gives back, for another model's q with mass T_q outside the list,

    KL = Σ_listed p log(p / q) + T log(T / T_q)  +  T · mean of the drawn r - 1 - log r,   r = (q / T_q) / (p / T)

The first two terms are the divergence with the tail as one token: never more than the true one. What they miss is
T · KL(tail of p ‖ tail of q); the third term estimates it without bias and is never negative (E[r] = 1). Errors:

* rounding: the listed p are rescaled to the mass they must have, so each is right to a factor e^±2δ with δ = step / 2.
  Since Σ p |log(p / q)| ≤ KL + √(2 KL) (Pinsker), a row moves by at most
  (e^2δ - 1) (KL + √(2 KL) + 2δ): 1e-5 nats where KL is 0.001 and δ is 1e-4. For q = p it is of second order, 1e-8;
* drawing: the variance of the third term, known row by row from the spread of what was drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.base import RowDivergence, empty_rows
from pennyweight.evaluation.softmax import RowSums, exponentials, in_row_blocks, negative_log_likelihood

_THINNEST = -87.0
"""log of the least mass a tail is taken to have: the least that float32 exponentials can sum to."""

MOST_LISTED, MOST_DRAWN = 512, 32
"""Beyond these a row gains nothing: at vocabulary 150,000 they leave 3.3 kB where llama.cpp's file has 304."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of a row is kept."""

    top_k: int
    samples: int


def default_sizes(n_vocab: int) -> Sizes:
    """The most that a tenth of llama.cpp's row (two bytes a token) can hold, a fifth of it for the sample."""
    id_bytes = _id_type(n_vocab).itemsize
    budget = 2 * (n_vocab + 4) // 10 - 24  # four float32, and two tokens of the text to each scored one
    samples = min(max(budget // 5 // (id_bytes + 4), 1), MOST_DRAWN)
    top_k = (budget - samples * (id_bytes + 4)) // (id_bytes + 2)
    return Sizes(top_k=min(max(top_k, 1), MOST_LISTED, n_vocab), samples=samples)


def row_layout(n_vocab: int, sizes: Sizes) -> np.dtype:
    """NumPy structured dtype of one row."""
    token = _id_type(n_vocab)
    return np.dtype(
        [
            ("nll", "<f4"),
            ("top", "<f4"),
            ("step", "<f4"),
            ("tail", "<f4"),
            ("ids", token, (sizes.top_k,)),
            ("codes", "<u2", (sizes.top_k,)),
            ("drawn", token, (sizes.samples,)),
            ("log_p", "<f4", (sizes.samples,)),
        ]
    )


def compact_rows(
    logits: NDArray[np.float32],
    wanted: NDArray[np.int32],
    sums: RowSums,
    sizes: Sizes,
    rng: np.random.Generator,
    threads: int | None = None,
) -> NDArray[np.void]:
    """float32 (rows, n_vocab) and the int32 (rows,) tokens that came → (rows,) of `row_layout`."""
    count, n_vocab = logits.shape
    rows = np.zeros(count, row_layout(n_vocab, sizes))
    rows["nll"] = negative_log_likelihood(logits, sums, wanted)
    offsets = rng.random(count)  # drawn here, so that the file does not depend on the threads

    def work(part: slice) -> None:
        _, powers = exponentials(logits[part])
        _keep_top(rows[part], logits[part], sums.log_sum_exp[part], sizes.top_k)
        np.put_along_axis(powers, rows["ids"][part].astype(np.int64), 0, axis=1)
        with np.errstate(divide="ignore"):  # no tail at all: log 0
            rows["tail"][part] = np.log(powers.sum(axis=1, dtype=np.float64) / sums.total[part])
        _draw_tail(rows[part], powers, logits[part], sums.log_sum_exp[part], offsets[part])

    in_row_blocks(work, count, n_vocab, threads)
    return rows


def divergence_from_rows(rows: NDArray[np.void], logits: NDArray[np.float32], sums: RowSums) -> RowDivergence:
    """KL divergence of float32 (rows, n_vocab) logits from stored rows; the module says how and how exactly."""
    out = empty_rows(len(rows))
    out.base_nll[:], out.base_top[:] = rows["nll"], rows["ids"][:, 0]
    listed = np.take_along_axis(logits, rows["ids"].astype(np.int64), axis=1)
    log_p = _listed_log_p(rows)
    log_q = listed - sums.log_sum_exp[:, None]
    kld = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    has_tail = rows["tail"] > -np.inf
    kld[has_tail] += _tail_as_one(rows, listed, sums)[has_tail]
    out.kld[:] = np.maximum(kld, 0)  # a divergence is not negative; rounding turns 0 into ±1e-9
    out.bound[:] = _rounding_bound(out.kld, rows["step"].astype(np.float64))
    missed = _missed_in_tail(rows, logits, listed, sums)[has_tail]
    out.kld[has_tail] += missed.mean(axis=1)
    if missed.shape[1] > 1:
        out.variance[has_tail] = missed.var(axis=1, ddof=1) / missed.shape[1]
    return out


def _id_type(n_vocab: int) -> np.dtype:
    return np.dtype("<u2" if n_vocab <= 1 << 16 else "<u4")


def _keep_top(
    rows: NDArray[np.void], logits: NDArray[np.float32], log_sum_exp: NDArray[np.float64], top_k: int
) -> None:
    """Fill ids, top, step and codes; of equal logits the lower token comes first, as in an argmax."""
    width = logits.shape[1]
    ids = np.sort(np.argpartition(logits, width - top_k, axis=1)[:, width - top_k :], axis=1)
    values = np.take_along_axis(logits, ids, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    log_p = np.take_along_axis(values, order, axis=1) - log_sum_exp[:, None]
    rows["ids"] = np.take_along_axis(ids, order, axis=1)
    rows["ids"][:, 0] = logits.argmax(axis=1)  # where more than top_k tie at the top, the lowest may be missing
    rows["top"] = log_p[:, 0]
    rows["step"] = (log_p[:, 0] - log_p[:, -1]) / 65535
    step = np.where(rows["step"] > 0, rows["step"], 1).astype(np.float64)
    rows["codes"] = np.clip(np.rint((log_p[:, :1] - log_p) / step[:, None]), 0, 65535)


def _draw_tail(
    rows: NDArray[np.void],
    powers: NDArray[np.float32],
    logits: NDArray[np.float32],
    log_sum_exp: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> None:
    """Fill drawn and log_p: systematic draws, one in each 1/samples of the tail's mass, for a small spread."""
    samples = rows["drawn"].shape[1]
    mass = np.cumsum(powers, axis=1, dtype=np.float64)
    # Just below the total, so that a draw never lands behind the last token that has mass.
    points = (offsets[:, None] + np.arange(samples)) / samples * mass[:, -1:] * (1 - 1e-12)
    for row, (cumulated, point) in enumerate(zip(mass, points, strict=True)):
        drawn = np.minimum(np.searchsorted(cumulated, point, side="right"), powers.shape[1] - 1)
        rows["drawn"][row] = drawn
        rows["log_p"][row] = logits[row, drawn] - log_sum_exp[row]


def _listed_log_p(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """float64 (rows, top_k): the base's log p of the listed tokens, rescaled to the mass 1 - T that they have."""
    log_p = rows["top"].astype(np.float64)[:, None] - rows["step"].astype(np.float64)[:, None] * rows["codes"]
    mass = np.exp(log_p).sum(axis=1)
    return log_p + (np.log1p(-np.exp(rows["tail"].astype(np.float64))) - np.log(mass))[:, None]


def _tail_as_one(rows: NDArray[np.void], listed: NDArray[np.float32], sums: RowSums) -> NDArray[np.float64]:
    """float64 (rows,): T log(T / T_q); where there is no tail, a number without meaning."""
    log_tail = np.maximum(rows["tail"], _THINNEST).astype(np.float64)
    return np.exp(log_tail) * (log_tail - _log_tail(listed, sums))


def _missed_in_tail(
    rows: NDArray[np.void], logits: NDArray[np.float32], listed: NDArray[np.float32], sums: RowSums
) -> NDArray[np.float64]:
    """float64 (rows, samples): T (r - 1 - log r) of each drawn token; where there is no tail, without meaning."""
    log_tail = np.maximum(rows["tail"], _THINNEST).astype(np.float64)
    log_p = rows["log_p"] - log_tail[:, None]
    drawn = np.take_along_axis(logits, rows["drawn"].astype(np.int64), axis=1)
    log_r = drawn - (sums.log_sum_exp + _log_tail(listed, sums))[:, None] - log_p
    return np.exp(log_tail)[:, None] * (np.expm1(log_r) - log_r)


def _log_tail(listed: NDArray[np.float32], sums: RowSums) -> NDArray[np.float64]:
    """float64 (rows,): log of the mass outside the listed logits.

    Subtracts the very exponentials that `total` was summed from, so that a thin tail keeps its digits. What is left of
    a tail too thin for float32 has a wrong logarithm, and no mass.
    """
    powers = np.exp(listed - sums.maximum[:, None])
    rest = (sums.total - powers.sum(axis=1, dtype=np.float64)) / sums.total
    return np.log(np.maximum(rest, np.exp(_THINNEST)))


def _rounding_bound(kld: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = np.expm1(step)  # e^2δ - 1, δ = step / 2
    return spread * (kld + np.sqrt(2 * kld) + step)
