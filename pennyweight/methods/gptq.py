"""GPTQ: columns rounded one after another, each error carried to the columns not yet rounded, on any grid.

What is minimized is the output error of the layer, tr((W − Q) H (W − Q)ᵀ) with H = 2 Σ x xᵀ / tokens, damped. In what
order columns go and on which grid they land is free: K-quants and IQ4 have the scales that their own encoder finds with
the importance mean x², already in six bits, before the first column is rounded.

Deviations: columns that no calibration token reached keep their weights and are rounded on their own, where the
reference sets them to zero (other texts may reach them); the factor is R of `methods.factor`, not U = R⁻¹.

Source: Frantar et al., GPTQ (arXiv 2210.17323), algorithm 1; act-order and static groups: IST-DASLab/gptq gptq.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.formats.grid import Grid, Parameters
from pennyweight.methods.factor import factor
from pennyweight.methods.feedback import round_and_refit, round_with_feedback
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of
from pennyweight.methods.statistics import Statistics, importance

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class GptqConfig:
    """Attributes:
    damp: fraction of the mean diagonal of H added to its diagonal; raised tenfold where that does not suffice.
    act_order: round columns by falling mean x². Groups stay those of the stored order, so that no index is stored.
    static_groups: fit all scales to the original weights first; else each unit of columns when it is reached, to
        the weights as updated by then (not with `act_order`, whose columns do not come unit by unit).
    clip_search: search the range of each group of an integer grid (see `rtn`).
    lazy_columns: columns brought up to date together; speed alone.
    """

    damp: float = 0.01
    act_order: bool = True
    static_groups: bool = True
    clip_search: bool = True
    lazy_columns: int = 128


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, grid: Grid, config: GptqConfig = GptqConfig()
) -> Quantized:
    """Round float32 (rows, columns) to `grid`, on the device that weight and statistics are on.

    Raises:
        BadRequest: no statistics, no Hessian in them, or options that contradict each other.
        BadWeights: NaN, or a Hessian that no damping makes positive definite.
        ShapeError: shapes that do not fit.
    """
    check_config(config)
    check_weight(weight, name_of(statistics))
    seen = check_statistics(weight, statistics, "gptq")
    if seen.hessian is None:
        raise BadRequest(f"{seen.name}: gptq needs the Hessian, but these statistics have none")
    if config.clip_search and grid.searching is not None:
        grid = grid.with_search()
    grid.check_columns(weight.shape[1])
    weights = importance(seen)
    original = weight.detach().float()
    factored = factor(seen, config.damp, config.act_order)
    if config.static_groups:
        parameters = grid.fit(original.cpu().numpy(), weights)
        rows = round_with_feedback(original, factored, grid, parameters, config.lazy_columns)
    else:

        def fit(updated: NDArray[np.float32], start: int, stop: int) -> Parameters:
            return grid.fit(updated, None if weights is None else weights[start:stop])

        rows, parameters = round_and_refit(original, factored, grid, fit, config.lazy_columns)
    return Quantized(
        codes=grid.pack(rows.codes(), parameters),
        weight=rows.decoded(),
        loss=rows.loss,
        damp=factored.damp,
        dead_columns=factored.dead_columns,
    )


def check_config(config: GptqConfig) -> None:
    """Raises: BadRequest for options that contradict each other or make no sense."""
    if config.act_order and not config.static_groups:
        raise BadRequest("gptq: act_order takes columns out of their groups' order; it needs static_groups")
    if config.lazy_columns < 1:
        raise BadRequest(f"gptq: lazy_columns is at least 1, got {config.lazy_columns}")
    if not 0 <= config.damp <= 1:
        raise BadRequest(f"gptq: damp is between 0 and 1, got {config.damp:g}")
