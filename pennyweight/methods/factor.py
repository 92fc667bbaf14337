"""The factor of a Hessian that error feedback needs: one Cholesky decomposition, no inverse.

GPTQ is told with U, the upper Cholesky factor of H⁻¹: the error e = (w' − q) / U[j, j] of column j is taken from each
later column k as e · U[j, k]. Three decompositions of n³ make U. With H = R Rᵀ, R upper triangular (a Cholesky
decomposition from the last column to the first), U is R⁻¹, and the same numbers w' follow from R alone:

    w'[j] = w[j] + Σ_{k<j} (w[k] − q[k]) · R[k, j] / R[j, j]          d[j] = U[j, j] = 1 / R[j, j]

because (w − q) = (w' − q) · D⁻¹U with D the diagonal of U, whose inverse is R D.

Source: Frantar et al., GPTQ (arXiv 2210.17323), algorithm 1; the identity is ours and tested against it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadWeights
from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch

DAMP_AGAIN, LARGEST_DAMP = 10.0, 1.0
"""Where the decomposition fails, damping is multiplied by the first until it passes the second."""

SLABS = 8
"""Of a Hessian's rows for each thread: they lengthen towards the diagonal's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A factored Hessian, rows and columns in the order of processing.

    Attributes:
        order: int64 (columns,), the column that is processed first, second, …
        act_order: whether that is another order than the stored one.
        below: float32 (columns, columns), contiguous: R[k, j] / R[j, j] at [j, k] for k < j; elsewhere not to be read.
        curvature: float32 (columns,): R[j, j]² / 2, what a squared error of column j costs; 0 for dead columns.
        damp: fraction of the mean diagonal that was added in the end.
        dead_columns: columns whose input was always zero.
    """

    order: "torch.Tensor"
    act_order: bool
    below: "torch.Tensor"
    curvature: "torch.Tensor"
    damp: float
    dead_columns: int


def factor(statistics: Statistics, damp: float, act_order: bool) -> Factor:
    """Factor H = 2 Σ x xᵀ / tokens + damp · mean(diag) · I.

    Raises: BadWeights where H holds NaN or no damping makes it positive definite.
    """
    import torch

    assert statistics.hessian is not None
    diagonal = statistics.hessian.diagonal()
    if not bool(torch.isfinite(statistics.hessian.sum())):
        raise BadWeights(f"{statistics.name}: the Hessian holds NaN or infinity; calibrate with other text")
    dead = diagonal == 0
    order = (
        torch.argsort(diagonal, descending=True, stable=True)
        if act_order
        else torch.arange(len(diagonal), device=diagonal.device)
    )
    backwards = order.flip(0)
    turned = _turned(statistics.hessian, backwards, 2.0 / statistics.tokens)
    lower, damp = decompose(turned, dead[backwards], damp, statistics.name)
    diagonal = lower.diagonal().flip(0)
    below = (lower / lower.diagonal()).flip(0, 1).T.contiguous()
    curvature = torch.where(dead[order], 0.0, diagonal * diagonal / 2)
    return Factor(
        order=order,
        act_order=act_order,
        below=below,
        curvature=curvature.contiguous(),
        damp=damp,
        dead_columns=int(dead.sum().item()),
    )


def _turned(hessian: "torch.Tensor", order: "torch.Tensor", scale: float) -> "torch.Tensor":
    """Rows and columns of the Hessian in `order`, times `scale`; above the diagonal nothing that is to be read."""
    import torch

    if hessian.device.type != "cpu":
        return hessian.index_select(0, order).index_select(1, order).mul_(scale)
    from pennyweight.kernels.columns import turn_square

    square, columns = np.ascontiguousarray(hessian.numpy()), order.numpy()
    turned = torch.zeros(square.shape)
    size = max(1, len(columns) // (SLABS * default_threads()))

    def turn(start: int) -> None:
        turn_square(square, columns, np.float32(scale), turned.numpy()[start : start + size], start)

    each_in_threads(turn, range(0, len(columns), size), default_threads())
    return turned


def decompose(hessian: "torch.Tensor", dead: "torch.Tensor", damp: float, name: str) -> "tuple[torch.Tensor, float]":
    """Lower Cholesky factor of a Hessian that is damped in place, and the damping that it took.

    Args:
        dead: bool (columns,), whose diagonal is set to 1 first.

    Raises: BadWeights where no damping makes it positive definite.
    """
    import torch

    diagonal = hessian.diagonal()
    diagonal[dead] = 1.0  # nothing is known of these columns: each is rounded on its own
    mean, added = float(diagonal.mean()), 0.0
    while True:
        diagonal.add_((damp - added) * mean)
        added = damp
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not int(failed):
            return lower, damp
        if damp >= LARGEST_DAMP:
            raise BadWeights(f"{name}: the Hessian is not positive definite with damping {damp:g}; calibrate anew")
        damp = min(max(damp, 0.001) * DAMP_AGAIN, LARGEST_DAMP)
