"""The base of a comparison: the unquantized model's predictions, live beside the other model or read from a file.

`LiveBase` runs the base beside the model and keeps everything: exact. `base_logits.CompactBase` is our stored form,
`logits_file.LogitsFile` llama.cpp's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.engine import LogitsEngine, targets, with_bos
from pennyweight.evaluation.softmax import (
    RowSums,
    exponentials,
    in_row_blocks,
    negative_log_likelihood,
    require_finite,
    row_sums,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDivergence:
    """What the base says about rows of another model's logits; every array is (rows,).

    Attributes:
        kld: float64, KL(base ‖ model) in nats.
        bound: float64, how far rounding of the stored base can have moved `kld`, at most; NaN where it is not known.
        variance: float64, variance of `kld` from what the stored base only sampled.
        base_nll: float64, -log p of the token that came, under the base.
        base_top: int64, the base's likeliest token.
    """

    kld: NDArray[np.float64]
    bound: NDArray[np.float64]
    variance: NDArray[np.float64]
    base_nll: NDArray[np.float64]
    base_top: NDArray[np.int64]


def empty_rows(rows: int) -> RowDivergence:
    """A `RowDivergence` to be filled; bound and variance start at 0, as for an exact base."""
    return RowDivergence(
        kld=np.empty(rows),
        bound=np.zeros(rows),
        variance=np.zeros(rows),
        base_nll=np.empty(rows),
        base_top=np.empty(rows, np.int64),
    )


class BaseLogits(Protocol):
    """A base that any model with the same vocabulary can be compared with.

    Attributes (as properties):
        chunks: int32 (chunks, n_ctx), the tokens, before BOS is put in.
        vocabulary_hash: None where the file does not say.
        noise_floor: mean KL divergence the base shows against itself by this route; None where the file does not say.
    """

    @property
    def chunks(self) -> NDArray[np.int32]: ...

    @property
    def n_vocab(self) -> int: ...

    @property
    def vocabulary_hash(self) -> str | None: ...

    @property
    def noise_floor(self) -> float | None: ...

    def against(
        self, start: int, logits: NDArray[np.float32], sums: RowSums, threads: int | None = None
    ) -> RowDivergence:
        """The divergence from this base of float32 (some chunks, scored, n_vocab) logits of chunks `start` onwards.

        Called with rising `start`, from 0, without gaps.
        """
        ...


class LiveBase:
    """A base that runs beside the model: nothing is stored, nothing is lost, two models are in memory."""

    def __init__(self, engine: LogitsEngine, chunks: NDArray[np.int32], noise_floor: float | None = None) -> None:
        self.engine, self.chunks, self.noise_floor = engine, chunks, noise_floor
        self._groups: Iterator[NDArray[np.float32]] = iter(())
        self._left: list[NDArray[np.float32]] = []

    @property
    def n_vocab(self) -> int:
        """Width of a row of logits."""
        return self.engine.n_vocab

    @property
    def vocabulary_hash(self) -> str:
        """What the token ids mean."""
        return self.engine.vocabulary_hash

    def against(
        self, start: int, logits: NDArray[np.float32], sums: RowSums, threads: int | None = None
    ) -> RowDivergence:
        """Exact KL divergence; see `BaseLogits.against`."""
        if start == 0:
            self._groups, self._left = self.engine.scored_logits(with_bos(self.chunks, self.engine.bos)), []
        rows = logits.reshape(-1, self.n_vocab)
        base = self._take(len(logits)).reshape(-1, self.n_vocab)
        base_sums = row_sums(base, threads)
        wanted = targets(self.chunks)[start : start + len(logits)].ravel()
        out = empty_rows(len(rows))
        out.kld[:] = exact_divergence(base, base_sums, rows, sums, threads)
        out.base_nll[:] = negative_log_likelihood(base, base_sums, wanted)
        out.base_top[:] = base.argmax(axis=1)
        return out

    def _take(self, count: int) -> NDArray[np.float32]:
        """The next `count` chunks of logits, however many the engine gives at a time."""
        if not self._left and len(group := next(self._groups)) == count:
            return group  # the usual case: both engines read as many side by side, and no copy is needed
        if not self._left:
            self._left.extend(group.copy())
        while len(self._left) < count:
            self._left.extend(next(self._groups).copy())
        taken, self._left = self._left[:count], self._left[count:]
        return np.stack(taken)


def exact_divergence(
    base: NDArray[np.float32],
    base_sums: RowSums,
    model: NDArray[np.float32],
    sums: RowSums,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """KL(base ‖ model) of each row of two float32 (rows, width) arrays of logits → float64 (rows,), nats.

    Σ p (x - y) - (lse_x - lse_y), with p = softmax(x): equal logits give exactly 0, and rounding about 1e-7.
    """
    out = np.empty(len(base))
    shift = base_sums.log_sum_exp - sums.log_sum_exp

    def work(part: slice) -> None:
        _, powers = exponentials(base[part])
        with np.errstate(invalid="ignore"):  # a logit of -inf in both is found in the sum
            powers *= base[part] - model[part]
        out[part] = powers.sum(axis=1, dtype=np.float64) / base_sums.total[part] - shift[part]

    in_row_blocks(work, base.shape[0], base.shape[1], threads)
    require_finite(out)
    return np.maximum(out, 0)  # a divergence is not negative; rounding turns 0 into ±1e-8
