"""Soft-max over rows of logits, in blocks that stay in the cache, on several threads; NumPy's SIMD exp does the work.

Exponentials are float32 and their sums float64, as llama-perplexity has them (its `expf` is another polynomial, equal
to about 1e-7). A row of 150,000 takes about 0.15 ms on one core.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadWeights
from pennyweight.core.parallel import default_threads, each_in_threads

BLOCK = 1 << 16
"""Logits that one thread takes at a time: 256 KiB, within a core's second-level cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSums:
    """The denominators of soft-max: Σ exp(logit) of a row is total · exp(maximum).

    Attributes:
        maximum: float32 (rows,), the largest logit.
        total: float64 (rows,), Σ exp(logit - maximum).
    """

    maximum: NDArray[np.float32]
    total: NDArray[np.float64]

    @property
    def log_sum_exp(self) -> NDArray[np.float64]:
        """float64 (rows,): log Σ exp(logit), so that log p = logit - log_sum_exp."""
        return self.maximum.astype(np.float64) + np.log(self.total)


def in_row_blocks(work: Callable[[slice], None], rows: int, width: int, threads: int | None = None) -> None:
    """Call `work` on slices that cover `rows` rows of `width` numbers, on several threads where that pays."""
    step = max(1, BLOCK // width)
    slices = [slice(start, min(start + step, rows)) for start in range(0, rows, step)]
    count = min(len(slices) // 2, threads or default_threads())  # a thread is worth two blocks
    if count > 1:
        each_in_threads(work, slices, count)
    else:
        for part in slices:
            work(part)


def exponentials(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float32 (rows, width) → its row maxima (rows,) and exp(block - maximum), float32 (rows, width)."""
    maximum = block.max(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # ±inf and NaN are found in the sums, and named there
        powers = block - maximum[:, None]
    np.exp(powers, out=powers)
    return maximum, powers


def row_sums(logits: NDArray[np.float32], threads: int | None = None) -> RowSums:
    """float32 (rows, width) → `RowSums`. Raises: BadWeights where a row is not finite."""
    rows, width = logits.shape
    sums = RowSums(maximum=np.empty(rows, np.float32), total=np.empty(rows, np.float64))

    def work(part: slice) -> None:
        sums.maximum[part], powers = exponentials(logits[part])
        sums.total[part] = powers.sum(axis=1, dtype=np.float64)

    in_row_blocks(work, rows, width, threads)
    require_finite(sums.total)
    return sums


def require_finite(values: NDArray[np.float64]) -> None:
    """Raises: BadWeights where one of (rows,) values is not finite; the cause is a logit that is not."""
    finite = np.isfinite(values)
    if not finite.all():
        raise BadWeights(
            f"the model's logits are NaN or infinite (scored token {int(np.argmin(finite))} of {len(values)} in this "
            "batch); its weights are bad"
        )


def negative_log_likelihood(
    logits: NDArray[np.float32], sums: RowSums, wanted: NDArray[np.int32]
) -> NDArray[np.float64]:
    """-log p of the tokens that came: float32 (rows, width), int32 (rows,) → float64 (rows,), nats."""
    nll = sums.log_sum_exp - logits[np.arange(len(wanted)), wanted]
    require_finite(nll)
    return nll
