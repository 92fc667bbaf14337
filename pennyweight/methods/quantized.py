"""What every method returns, and the checks every method begins with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest, BadWeights, ShapeError
from pennyweight.formats.base import Codes
from pennyweight.formats.grid import Grid, PackedCodes, Parameters
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A quantized matrix.

    Attributes:
        codes: what a checkpoint writes.
        weight: float32 (rows, columns) on the device of the original, bit for bit `codes.decode()`.
        loss: Σ (w − q)² / d² / 2 over all weights, GPTQ's own measure with the Hessian Σ x xᵀ / tokens; None where the
            method does not compute it (`hessian_error` does, for any).
        damp: fraction of the mean diagonal that was added to the Hessian.
        dead_columns: columns that no calibration token reached.
    """

    codes: PackedCodes
    weight: "torch.Tensor"
    loss: float | None = None
    damp: float = 0.0
    dead_columns: int = 0


def check_weight(weight: "torch.Tensor", name: str) -> None:
    """Raises: ShapeError for no matrix; BadWeights where it holds NaN or infinity, with the place."""
    import torch

    if weight.ndim != 2 or 0 in weight.shape:
        raise ShapeError(f"{name}: a matrix (rows, columns) is wanted, got {tuple(weight.shape)}")
    # A finite sum has finite terms, at a twentieth of the time of a look at each; another sum may have overflowed.
    if not bool(torch.isfinite(weight.sum())) and bool((bad := ~torch.isfinite(weight)).any()):
        row, column = (int(i) for i in bad.nonzero()[0])
        raise BadWeights(f"{name}: {float(weight[row, column])} at row {row}, column {column}; repair the checkpoint")


def check_statistics(weight: "torch.Tensor", statistics: Statistics | None, method: str) -> Statistics:
    """The statistics, which must be there and fit. Raises: BadRequest, ShapeError."""
    if statistics is None or statistics.tokens == 0:
        name = statistics.name if statistics else "the weight"
        raise BadRequest(f"{method} needs activations, but {name} has seen no calibration token; use rtn for it")
    if statistics.columns != weight.shape[1]:
        raise ShapeError(f"{statistics.name}: {weight.shape[1]} columns, but statistics of {statistics.columns}")
    return statistics


def name_of(statistics: Statistics | None) -> str:
    """What errors call the matrix."""
    return statistics.name if statistics else "weight"


def packed(grid: Grid, codes: Codes, parameters: Parameters, like: "torch.Tensor", **measured: float) -> Quantized:
    """Codes and parameters as a result, on the device of `like`."""
    import torch

    decoded = torch.from_numpy(np.ascontiguousarray(grid.decode(codes, parameters))).to(like.device)
    return Quantized(codes=grid.pack(codes, parameters), weight=decoded, **measured)  # pyright: ignore[reportArgumentType]


def hessian_error(weight: "torch.Tensor", quantized: "torch.Tensor", statistics: Statistics) -> float:
    """tr(Δ H Δᵀ) / tokens with Δ = weight − quantized: the mean over calibration tokens of |(W − Q) x|².

    Raises: BadRequest where the statistics have no Hessian.
    """
    import torch

    if statistics.hessian is None:
        raise BadRequest(f"{statistics.name}: no Hessian was gathered, so its output error is unknown")
    difference = (weight - quantized).to(torch.float32)
    return float((difference @ statistics.hessian * difference).sum(dtype=torch.float64)) / max(statistics.tokens, 1)
