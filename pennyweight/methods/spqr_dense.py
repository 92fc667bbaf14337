"""SpQR within a budget of stored bits: as many weights kept apart as it pays for, those whose rounding costs most.

    outliers = ⌊(bits · weights − bits of everything else in the dense layout) / 32⌋

What a weight's rounding costs is (w − q)² · c[j] on a grid fitted to the others, with c[j] = 1 / d[j]² (GPTQ's
sensitivity of column j), before error feedback; grid and outliers are found in turn. Deviations from the paper, each
measured against what it replaces (docs/log.md): groups of 32; ranges searched, weighted by mean x²; the best of the 64
pairs that a group's codes can make; damping 0.01; outliers chosen beforehand, so that their number is exact, instead
of by a threshold when a column is reached.

Source: Dettmers et al., SpQR (arXiv 2306.03078); see `methods.spqr` for the published method.
"""

from dataclasses import dataclass
from functools import partial
from math import floor
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.formats.base import Floats
from pennyweight.formats.spqr_codes import LEAST_BITS, OUTLIER_BITS, SPQR_TILE, dense_bits
from pennyweight.formats.spqr_fit import TOP, second_order
from pennyweight.methods.factor import factor
from pennyweight.methods.feedback import as_rows, as_tiles
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of
from pennyweight.methods.spqr import without
from pennyweight.methods.spqr_round import Fitted, fitted, round_apart
from pennyweight.methods.statistics import Statistics, importance

if TYPE_CHECKING:
    import torch

ROUNDS = 2
"""Times that outliers are chosen: first on a grid fitted to all weights, then on one fitted to the others."""

GROUPS = ((3.7, 16), (3.4, 32), (LEAST_BITS, 64))
"""Budget from which on a group of so many columns is taken. Smaller groups gain more than outliers do: at 3.75 bits the
output error of layers of the embedded model was 0.0048 with groups of 16, 0.0056 with 32 and more outliers."""

LEAST_COST = 1e-4
"""Of the mean importance, for columns that calibration never saw: other texts may reach them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpqrDenseConfig:
    """Attributes:
    bits: stored bits of a weight, all counted.
    group_size: columns that share a scale; the smallest that a budget pays for does best (`group_for`).
    damp, act_order, lazy_columns: as in `gptq`.
    """

    bits: float = 3.5
    group_size: int = 32
    damp: float = 0.01
    act_order: bool = True
    lazy_columns: int = 128


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, config: SpqrDenseConfig = SpqrDenseConfig()
) -> Quantized:
    """Round float32 (rows, columns), rows in multiples of 16 and columns of the group.

    Raises: ShapeError, BadWeights, BadRequest (also for a budget that the codes alone exceed).
    """
    check_weight(weight, name_of(statistics))
    seen = check_statistics(weight, statistics, "spqr")
    if seen.hessian is None:
        raise BadRequest(f"{seen.name}: spqr needs the Hessian, but these statistics have none")
    rows, columns = weight.shape
    if rows % SPQR_TILE or columns % config.group_size:
        raise ShapeError(
            f"{seen.name}: spqr in groups of {config.group_size} needs columns in multiples of it and rows of "
            f"{SPQR_TILE}, got {rows} × {columns}"
        )
    count = outliers_within(seen.name, rows, columns, config)
    original = weight.detach().float()
    factored = factor(seen, config.damp, config.act_order)
    sensitivity = (2 * factored.curvature[factored.order.argsort()]).cpu().numpy()
    found, kept_apart = fit_around_outliers(original.cpu().numpy(), _cost(seen), sensitivity, config.group_size, count)
    import torch

    apart = torch.from_numpy(np.ascontiguousarray(kept_apart.T)).to(weight.device)
    return round_apart(original, factored, found, lambda column, cost: apart[column], config.lazy_columns)


def group_for(bits: float) -> int:
    """Columns that share a scale within a budget, for rows of 256 columns or more."""
    return next(group for least, group in GROUPS if bits >= least)


def outliers_within(name: str, rows: int, columns: int, config: SpqrDenseConfig) -> int:
    """How many outliers the budget pays for. Raises: BadRequest where it does not pay for the codes."""
    others = dense_bits(rows, columns, config.group_size, 0)
    spare = floor(config.bits * rows * columns) - others
    if spare < 0:
        raise BadRequest(
            f"{name}: {config.bits:g} bits a weight are asked for, but codes and scales of {rows} × {columns} take "
            f"{others / (rows * columns):.3f}; ask for more"
        )
    return min(spare // OUTLIER_BITS, rows * columns)


def fit_around_outliers(
    weight: Floats, importance: Floats, sensitivity: Floats, group_size: int, count: int
) -> tuple[Fitted, Floats]:
    """The grid, and the `count` weights kept apart, bool (rows, columns), each found given the other."""
    kept_apart = np.zeros(weight.shape, bool)
    for _ in range(ROUNDS if count else 0):
        kept_apart = costliest(weight, fit(weight, importance, kept_apart, group_size), sensitivity, count)
    return fit(weight, importance, kept_apart, group_size), kept_apart


def costliest(weight: Floats, found: Fitted, sensitivity: Floats, count: int) -> Floats:
    """The `count` weights whose rounding to the nearest code costs most, bool (rows, columns)."""
    scale, zero = (np.repeat(p, weight.shape[1] // p.shape[1], axis=1) for p in (found.scale, found.zero))
    usable = scale > 0
    code = np.clip(np.rint(weight / np.where(usable, scale, np.float32(1)) + zero), 0, TOP)
    cost = ((weight - scale * (code - zero)) ** 2 * sensitivity).reshape(-1)
    chosen = np.zeros(cost.size, bool)
    chosen[np.argpartition(-cost, count - 1)[:count]] = True
    return chosen.reshape(weight.shape)


def fit(weight: Floats, importance: Floats, kept_apart: Floats, group_size: int) -> Fitted:
    """Scales and zero points of least Σ importance · (w − q)² over the weights that are not kept apart."""
    from pennyweight.kernels import spqr_fit as kernels

    x, left = without(weight, kept_apart, group_size)
    cost = left * importance.reshape(-1, group_size)
    laid, paid = (as_tiles(part.reshape(weight.shape).astype(np.float32)) for part in (x, cost))
    shape = len(laid), weight.shape[1] // group_size, SPQR_TILE
    scale, zero, scale_codes, zero_codes = (np.zeros(shape, np.float32) for _ in range(4))

    def search(tiles: slice) -> None:
        kernels.search_ranges(laid[tiles], paid[tiles], group_size, scale[tiles], zero[tiles])

    each_in_threads(search, _slabs(len(laid)), default_threads())
    in_rows = partial(as_rows, count=len(weight))
    orders = [number for part in (scale, zero) for number in second_order(in_rows(part))[1]]
    second = np.stack(orders, axis=-1).astype(np.float32)

    def choose(tiles: slice) -> None:
        found = scale_codes[tiles], zero_codes[tiles]
        kernels.choose_codes(laid[tiles], paid[tiles], group_size, second[tiles], *found)

    each_in_threads(choose, _slabs(len(laid)), default_threads())
    return fitted(in_rows(scale_codes).astype(np.uint8), in_rows(zero_codes).astype(np.uint8), second)


def _cost(seen: Statistics) -> Floats:
    mean = importance(seen)
    assert mean is not None  # check_statistics has refused statistics of no tokens
    return np.maximum(mean, np.float32(LEAST_COST) * mean.mean(dtype=np.float32))


def _slabs(tiles: int) -> list[slice]:
    return [slice(i, i + 1) for i in range(tiles)]
