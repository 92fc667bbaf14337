"""SpQR: 3-bit codes in small groups whose scales are 3-bit codes too, and the weights that matter most kept apart.

1. A weight is left out of its group's fit where that lowers the group's error, Σ (w − q)² · c[j], by more than the
   threshold; c[j] = 1 / d[j]² is GPTQ's sensitivity of column j.
2. Scale and zero point (not a whole number) of each group from the extremes of what is left; those of sixteen rows
   are rounded to three bits together.
3. Columns are rounded with error feedback; a weight whose own error costs more than the threshold then becomes an
   outlier, stored in 16 bits as it is wanted at that moment.

    threshold = relative · mean_j (variance of column j · c[j])

Deviation: groups lie in the stored order and are fitted to the original weights, so that columns may be rounded by
falling mean x² without an index being stored; the reference fits each group when it is reached.

Source: Dettmers et al., SpQR (arXiv 2306.03078), algorithms 1 and 2; Vahe1994/SpQR spqr_engine.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats.base import Floats
from pennyweight.formats.spqr_codes import SPQR_TILE
from pennyweight.formats.spqr_fit import TOP, range_to_scale, second_order
from pennyweight.methods.factor import factor
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of
from pennyweight.methods.spqr_round import Fitted, fitted, round_apart
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class SpqrConfig:
    """Attributes:
    outlier_threshold: cost of an error, relative to the mean column, from which a weight is kept apart.
    damp, act_order, lazy_columns: as in `gptq`; the authors' damping is 1.
    """

    outlier_threshold: float = 0.2
    damp: float = 1.0
    act_order: bool = True
    lazy_columns: int = 128


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, config: SpqrConfig = SpqrConfig()
) -> Quantized:
    """Round float32 (rows, columns), both in multiples of 16, to SpQR's own grid.

    Raises: ShapeError, BadWeights, BadRequest (see `gptq.quantize_weight`).
    """
    check_weight(weight, name_of(statistics))
    seen = check_statistics(weight, statistics, "spqr")
    if seen.hessian is None:
        raise BadRequest(f"{seen.name}: spqr needs the Hessian, but these statistics have none")
    if any(size % SPQR_TILE for size in weight.shape):
        raise ShapeError(f"{seen.name}: spqr needs rows and columns in multiples of 16, got {tuple(weight.shape)}")
    original = weight.detach().float()
    factored = factor(seen, config.damp, config.act_order)
    sensitivity = 2 * factored.curvature[factored.order.argsort()]
    threshold = config.outlier_threshold * float((original.var(0, correction=0) * sensitivity).mean())
    array = original.cpu().numpy()
    kept_apart = leave_one_out(array, sensitivity.cpu().numpy(), threshold)
    found = fit(array, kept_apart)
    return round_apart(original, factored, found, lambda column, cost: cost > threshold, config.lazy_columns)


def leave_one_out(weight: Floats, sensitivity: Floats, threshold: float) -> Floats:
    """Which weights are left out of their group's fit, bool (rows, columns).

    The error of a group is Σ (w − q)² · sensitivity with a scale and zero point from its extremes; a weight is left
    out where the error of the other fifteen, fitted without it, is lower than that of all by more than the threshold.
    """
    x = weight.reshape(len(weight), -1, SPQR_TILE)
    cost = sensitivity.reshape(-1, SPQR_TILE)
    whole = (_errors(x, x) * cost).sum(-1)
    out = np.zeros(x.shape, bool)
    for i in range(SPQR_TILE):
        others = np.delete(x, i, axis=-1)
        out[..., i] = whole - (_errors(others, others) * np.delete(cost, i, axis=-1)).sum(-1) > threshold
    return out.reshape(weight.shape)


def fit(weight: Floats, kept_apart: Floats) -> Fitted:
    """Scale and zero point of each group without the weights kept apart, rounded to three bits over sixteen rows."""
    x, _ = without(weight, kept_apart, SPQR_TILE)
    scale, zero = _extremes(x)
    scale_codes, of_scale = second_order(scale)
    zero_codes, of_zero = second_order(zero)
    return fitted(scale_codes, zero_codes, np.stack((*of_scale, *of_zero), axis=-1).astype(np.float32))


def without(weight: Floats, kept_apart: Floats, group_size: int) -> tuple[Floats, Floats]:
    """The weight by groups, (rows, groups, n), a group's mean in place of those kept apart; and who is left, bool."""
    x = weight.reshape(len(weight), -1, group_size)
    left = ~kept_apart.reshape(x.shape)
    mean = (x * left).sum(-1, keepdims=True) / np.maximum(left.sum(-1, keepdims=True), 1)
    return np.where(left, x, mean), left


def _errors(x: Floats, fitted_to: Floats) -> Floats:
    """(w − q)² of x (..., n) on the grid from the extremes of `fitted_to`."""
    scale, zero = (part[..., None] for part in _extremes(fitted_to))
    return (x - scale * (np.clip(np.rint(x / scale + zero), 0, TOP) - zero)) ** 2


def _extremes(x: Floats) -> tuple[Floats, Floats]:
    return range_to_scale(x.min(axis=-1), x.max(axis=-1))
