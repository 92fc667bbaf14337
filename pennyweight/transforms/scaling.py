"""Scaling the channels between two layers: the producer's outputs ÷ s, the consumers' columns × s, the function kept.

    W x = (W · diag(s)) (x / s)

AWQ and SmoothQuant differ only in how they choose s; plants use the same rewrite to make outliers.
"""

from typing import TYPE_CHECKING

from pennyweight.core.errors import BadWeights, ShapeError

if TYPE_CHECKING:
    import torch


def scale_columns(weight: "torch.Tensor", scale: "torch.Tensor") -> "torch.Tensor":
    """A consumer's weight (rows, columns) with column j times scale[j], in the weight's dtype."""
    _check(scale, weight.shape[1])
    return (weight.float() * scale).to(weight.dtype)


def divide_outputs(producer: "torch.Tensor", scale: "torch.Tensor") -> "torch.Tensor":
    """A producer, output j ÷ scale[j]: a norm's gain or a bias (columns,), or a weight (columns, inputs)."""
    _check(scale, producer.shape[0])
    divisor = scale if producer.ndim == 1 else scale[:, None]
    return (producer.float() / divisor).to(producer.dtype)


def normalized(scale: "torch.Tensor") -> "torch.Tensor":
    """The scale divided by √(max · min), so that large and small channels move alike; 1 where it is not a number."""
    import torch

    scale = scale / (scale.max() * scale.min()).sqrt()
    return torch.where(torch.isfinite(scale) & (scale > 0), scale, 1.0)


def _check(scale: "torch.Tensor", channels: int) -> None:
    import torch

    if scale.shape != (channels,):
        raise ShapeError(f"a scale for {channels} channels is wanted, got {tuple(scale.shape)}")
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise BadWeights("channel scales must be finite and above zero; some are not")
