"""What a method knows of a linear layer's inputs: sums over calibration tokens, gathered batch by batch in float32.

    hessian = Σ x xᵀ      sum_square = Σ x²      sum_absolute = Σ |x|      absolute_maximum = max |x|
    drift = Σ (x̃ − x) xᵀ      x̃ the input that the unquantized model would have had here

All sums, no means, so that batches in the same order give the same bits. They live on the device of the activations.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadWeights, ShapeError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Sums over `tokens` inputs x of one linear layer.

    Attributes:
        name: the layer, as errors call it (`blk.3.ffn_down.weight`).
        tokens: inputs seen.
        hessian: float32 (columns, columns), Σ x xᵀ; None where no method asked for it.
        drift: float32 (columns, columns), Σ (x̃ − x) xᵀ; None where no method asked for it, or inputs have no partner.
        sum_square, sum_absolute, absolute_maximum: float32 (columns,).
    """

    name: str
    tokens: int
    hessian: "torch.Tensor | None"
    sum_square: "torch.Tensor"
    sum_absolute: "torch.Tensor"
    absolute_maximum: "torch.Tensor"
    drift: "torch.Tensor | None" = None

    @property
    def columns(self) -> int:
        """Width of x."""
        return self.sum_square.shape[0]

    @property
    def mean_square(self) -> "torch.Tensor":
        """Mean x² of each column, float32 (columns,): the importance that llama.cpp's searches take."""
        return self.sum_square / max(self.tokens, 1)

    @property
    def mean_absolute(self) -> "torch.Tensor":
        """Mean |x| of each column, float32 (columns,): what AWQ scales by."""
        return self.sum_absolute / max(self.tokens, 1)


def nothing_seen(
    name: str, columns: int, device: "torch.device | str" = "cpu", *, hessian: bool = True, drift: bool = False
) -> Statistics:
    """Statistics of no tokens, to be accumulated into."""
    import torch

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=device)

    return Statistics(
        name=name,
        tokens=0,
        hessian=zeros(columns, columns) if hessian else None,
        sum_square=zeros(columns),
        sum_absolute=zeros(columns),
        absolute_maximum=zeros(columns),
        drift=zeros(columns, columns) if drift else None,
    )


def accumulate(statistics: Statistics, x: "torch.Tensor", full: "torch.Tensor | None" = None) -> Statistics:
    """Add a batch of inputs x, (…, columns) in any float type; the tensors are updated in place, use what is returned.

    Args:
        full: the same tokens' inputs in the unquantized model, of x's shape; wanted where drift is gathered.

    Raises:
        ShapeError: x of another width.
        BadWeights: NaN or infinity among the inputs; names the layer.
    """
    import torch

    if x.shape[-1] != statistics.columns:
        raise ShapeError(f"{statistics.name}: inputs of width {x.shape[-1]}, wanted {statistics.columns}")
    x = x.detach().reshape(-1, statistics.columns).to(torch.float32)
    square, absolute = x * x, x.abs()
    total = square.sum(0)
    if not bool(torch.isfinite(total).all()):
        raise BadWeights(
            f"{statistics.name}: its inputs hold NaN, infinity or numbers whose squares overflow float32; "
            f"check the model in its own type before calibrating"
        )
    statistics.sum_square.add_(total)
    statistics.sum_absolute.add_(absolute.sum(0))
    if len(x):
        torch.maximum(statistics.absolute_maximum, absolute.amax(0), out=statistics.absolute_maximum)
    if statistics.hessian is not None:
        statistics.hessian.addmm_(x.T, x)
    if statistics.drift is not None and full is not None:
        statistics.drift.addmm_((full.detach().reshape(-1, statistics.columns).to(torch.float32) - x).T, x)
    return replace(statistics, tokens=statistics.tokens + len(x))


def scaled(statistics: Statistics, scale: "torch.Tensor") -> Statistics:
    """The statistics of x / scale: what a layer sees once its producer was divided by `scale` (columns,)."""

    def both(matrix: "torch.Tensor | None") -> "torch.Tensor | None":
        return None if matrix is None else matrix / scale / scale[:, None]

    return replace(
        statistics,
        hessian=both(statistics.hessian),
        drift=both(statistics.drift),
        sum_square=statistics.sum_square / scale**2,
        sum_absolute=statistics.sum_absolute / scale,
        absolute_maximum=statistics.absolute_maximum / scale,
    )


def importance(statistics: Statistics | None) -> NDArray[np.float32] | None:
    """Mean x² as the searches of `formats` take it, float32 (columns,); None where nothing was seen."""
    if statistics is None or statistics.tokens == 0:
        return None
    return np.ascontiguousarray(statistics.mean_square.cpu().numpy())
