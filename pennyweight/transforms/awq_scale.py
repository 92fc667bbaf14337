"""AWQ: scale channels that meet large activations up before rounding, as far as the layer's output error falls.

    s(r) = mean|x|^r / (w_mean^(1 − r) + 1e-4), divided by √(max · min)      r = 0, 1/n, …, (n − 1)/n

with w_mean the mean over rows of |w| / (largest |w| of its group); without duo scaling the denominator is 1. The r of
least Σ tr(Δ H Δᵀ), Δ = W − Q(W s) / s, over all layers that read the same input, is taken; no scaling at all is tried
too (the reference does not), so that the error that is searched never rises.

The error of the layers' own outputs is exact from the Hessian, without the inputs. The reference looks at the output
of the attention or feed-forward module instead.

Source: Lin et al., AWQ (arXiv 2306.00978); AutoAWQ quantize/quantizer.py `_compute_best_scale`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest
from pennyweight.formats.grid import Grid
from pennyweight.transforms.scaling import normalized, scale_columns

if TYPE_CHECKING:
    import torch

LEAST_SCALE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class AwqConfig:
    """Attributes:
    steps: ratios tried.
    duo_scaling: divide by the weights' own size as well.
    """

    steps: int = 20
    duo_scaling: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AwqScale:
    """What a search found.

    Attributes:
        scale: float32 (columns,), all ones where nothing helped.
        ratio: the r of the scale; None where nothing helped.
        error, plain_error: Σ tr(Δ H Δᵀ) with it and without.
    """

    scale: "torch.Tensor"
    ratio: float | None
    error: float
    plain_error: float


def search_scale(
    weights: Sequence["torch.Tensor"],
    mean_absolute: "torch.Tensor",
    hessian: "torch.Tensor",
    grid: Grid,
    config: AwqConfig = AwqConfig(),
) -> AwqScale:
    """The scale for layers that read one input.

    Args:
        weights: float32 (rows, columns) each.
        mean_absolute: float32 (columns,), mean |x|.
        hessian: float32 (columns, columns), mean of x xᵀ.

    Raises: BadRequest for no layers; ShapeError where the grid cannot take the columns.
    """
    import torch

    if not weights:
        raise BadRequest("awq: no layer reads this input, so there is nothing to scale for")
    weights = [weight.detach().float() for weight in weights]
    size = _relative_size(torch.cat(list(weights)), grid.group_size)
    ones = torch.ones_like(mean_absolute)
    plain = _error(weights, ones, hessian, grid)
    best = AwqScale(scale=ones, ratio=None, error=plain, plain_error=plain)
    for step in range(config.steps):
        ratio = step / config.steps
        scale = mean_absolute.clamp(min=1e-8) ** ratio
        if config.duo_scaling:
            scale = scale / (size ** (1 - ratio) + 1e-4)
        scale = normalized(scale.clamp(min=LEAST_SCALE))
        error = _error(weights, scale, hessian, grid)
        if error < best.error:
            best = AwqScale(scale=scale, ratio=ratio, error=error, plain_error=plain)
    return best


def _relative_size(weight: "torch.Tensor", group_size: int) -> "torch.Tensor":
    """Mean over rows of |w| / (largest |w| of its group), float32 (columns,); the last group may be short."""
    import torch

    rows, columns = weight.shape
    size = group_size or columns
    padded = torch.nn.functional.pad(weight.abs(), (0, -columns % size)).reshape(rows, -1, size)
    return (padded / (padded.amax(-1, keepdim=True) + 1e-6)).reshape(rows, -1)[:, :columns].mean(0)


def _error(weights: Sequence["torch.Tensor"], scale: "torch.Tensor", hessian: "torch.Tensor", grid: Grid) -> float:
    """Σ tr(Δ H Δᵀ) after rounding the scaled weights to nearest."""
    importance = np.ascontiguousarray((hessian.diagonal() / scale**2).cpu().numpy())
    total = 0.0
    for weight in weights:
        rounded = round_to_nearest(scale_columns(weight, scale), grid, importance) / scale
        difference = weight - rounded
        total += float((difference @ hessian * difference).double().sum())
    return total


def round_to_nearest(weight: "torch.Tensor", grid: Grid, importance: "np.ndarray | None") -> "torch.Tensor":
    """Round-to-nearest and back, on the device of the weight."""
    import torch

    array = np.ascontiguousarray(weight.cpu().numpy())
    parameters = grid.fit(array, importance)
    return torch.from_numpy(grid.decode(grid.nearest(array, parameters), parameters)).to(weight.device)
