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
from pennyweight.formats.spqr_codes import SPQR_TILE, SpQRCodes
from pennyweight.methods.factor import Factor, factor
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch

TOP = 7  # of codes of weights, of scales and of zero points: three bits each
FLATTEST = 64.0
"""The most that a second-order zero point may be: a step is at least 1/64 of the largest scale, which float16 tells."""


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
    scale_codes, zero_codes, second, scale, zero = fit(array, kept_apart)
    codes, outlier, decoded, loss = _round(original, factored, scale, zero, threshold, config.lazy_columns)
    rows, columns = outlier.nonzero()
    return Quantized(
        codes=SpQRCodes(
            codes=codes,
            scale_codes=scale_codes,
            zero_codes=zero_codes,
            second=second,
            outlier_offsets=np.searchsorted(rows, np.arange(len(codes) + 1)).astype(np.int64),
            outlier_columns=columns.astype(np.int32),
            outlier_values=decoded[outlier],
        ),
        weight=_tensor(decoded, weight),
        loss=loss,
        damp=factored.damp,
        dead_columns=factored.dead_columns,
    )


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


def fit(weight: Floats, kept_apart: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Scale and zero point of each group without the weights kept apart, rounded to three bits over sixteen rows.

    Returns:
        scale codes, zero codes (rows, groups); second-order numbers (rows / 16, groups, 4); scale, zero point as a
        reader computes them, float32 (rows, groups).
    """
    x = weight.reshape(len(weight), -1, SPQR_TILE)
    left = ~kept_apart.reshape(x.shape)
    mean = (x * left).sum(-1, keepdims=True) / np.maximum(left.sum(-1, keepdims=True), 1)
    scale, zero = _extremes_to_scale(np.where(left, x, mean))
    scale_codes, of_scale = _second_order(scale)
    zero_codes, of_zero = _second_order(zero)
    second = np.stack((*of_scale, *of_zero), axis=-1).astype(np.float32)
    rows = np.repeat(second, SPQR_TILE, axis=0)
    seen_scale = rows[..., 0] * (scale_codes.astype(np.float32) - rows[..., 1])
    seen_zero = rows[..., 2] * (zero_codes.astype(np.float32) - rows[..., 3])
    return scale_codes, zero_codes, second, seen_scale, seen_zero


def _errors(x: Floats, fitted_to: Floats) -> Floats:
    """(w − q)² of x (..., n) on the grid from the extremes of `fitted_to`."""
    scale, zero = (part[..., None] for part in _extremes_to_scale(fitted_to))
    return (x - scale * (np.clip(np.rint(x / scale + zero), 0, TOP) - zero)) ** 2


def _extremes_to_scale(x: Floats) -> tuple[Floats, Floats]:
    """scale = (max − min) / 7, zero = −min / scale; a flat group has its number at code 0."""
    low, high = x.min(axis=-1), x.max(axis=-1)
    scale = (high - low) / np.float32(TOP)
    # A flat group keeps a scale that float16 can tell from zero; its zero point puts the number on a code.
    scale = np.maximum(scale, np.maximum(np.abs(low) / np.float32(FLATTEST), np.float32(1e-6)))
    return scale, -low / scale


def _second_order(values: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """Values (rows, groups) as 3-bit codes, uint8, and the step and zero point that sixteen rows share, float16."""
    tiles = values.reshape(-1, SPQR_TILE, values.shape[1])
    low, high = tiles.min(axis=1), tiles.max(axis=1)
    least = np.maximum(np.maximum(np.abs(low), np.abs(high)) / np.float32(FLATTEST), np.float32(1e-7))
    step = np.maximum((high - low) / np.float32(TOP), least).astype(np.float16).astype(np.float32)
    zero = (-low / step).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(tiles / step[:, None] + zero[:, None]), 0, TOP).astype(np.uint8)
    return codes.reshape(values.shape), (step, zero)


def _round(
    weight: "torch.Tensor", factored: Factor, scale: Floats, zero: Floats, threshold: float, lazy_columns: int
) -> tuple[Floats, Floats, Floats, float]:
    """Error feedback with outliers found on the way: codes, outliers, decoded weights (rows, columns), and the loss."""
    import torch

    order, below, cost = factored.order, factored.below, 2 * factored.curvature
    groups = (order // SPQR_TILE).tolist()
    scale_of, zero_of = (torch.from_numpy(np.ascontiguousarray(p.T)).to(weight.device) for p in (scale, zero))
    original = weight[:, order].T.contiguous()
    decoded, delta = torch.zeros_like(original), torch.zeros_like(original)
    codes = torch.zeros(original.shape, dtype=torch.uint8, device=weight.device)
    outlier = torch.zeros(original.shape, dtype=torch.bool, device=weight.device)
    loss = torch.zeros((), dtype=torch.float64, device=weight.device)
    for start in range(0, len(original), lazy_columns):
        stop = min(start + lazy_columns, len(original))
        target = original[start:stop].addmm(below[start:stop, :start], delta[:start])
        for j in range(start, stop):
            wanted, s, z = target[j - start], scale_of[groups[j]], zero_of[groups[j]]
            code = (wanted / torch.where(s != 0, s, 1.0) + z).round().clamp(0, TOP)
            dense = s * (code - z)
            apart = (wanted - dense).square() * cost[j] > threshold
            decoded[j] = torch.where(apart, wanted.half().float(), dense)
            codes[j], outlier[j] = code.to(torch.uint8), apart
            loss += ((wanted - decoded[j]).double().square() * cost[j] / 2).sum()
            delta[j] = original[j] - decoded[j]
            target[j - start + 1 :].addr_(below[j + 1 : stop, j], delta[j])
    stored = order.argsort()
    code, apart, value = (np.ascontiguousarray(part[stored].T.cpu().numpy()) for part in (codes, outlier, decoded))
    return code, apart, value, float(loss)


def _tensor(array: Floats, like: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.from_numpy(array).to(like.device)
