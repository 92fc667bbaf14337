"""SmoothQuant: move part of the activations' range into the weights, so that both fit eight bits.

    s[j] = max|x[j]|^α / max|w[j]|^(1 − α)      the producer's outputs ÷ s, the consumers' columns × s

Source: Xiao et al., SmoothQuant (arXiv 2211.10438), equation 4; α = 0.5.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest

if TYPE_CHECKING:
    import torch

LEAST = 1e-5


def smoothing_scale(
    weights: Sequence["torch.Tensor"], absolute_maximum: "torch.Tensor", alpha: float = 0.5
) -> "torch.Tensor":
    """The scale for layers that read one input, float32 (columns,).

    Args:
        weights: (rows, columns) each.
        absolute_maximum: float32 (columns,), max |x| over calibration tokens.
        alpha: share of the activations' range that the weights take on, 0 to 1.

    Raises: BadRequest for an alpha out of range, or no layers.
    """
    import torch

    if not 0 <= alpha <= 1 or not weights:
        raise BadRequest(
            f"smooth: alpha between 0 and 1 and a layer are wanted, got {alpha:g} and {len(weights)} layers"
        )
    largest = torch.stack([weight.float().abs().amax(0) for weight in weights]).amax(0)
    return (absolute_maximum.clamp(min=LEAST) ** alpha / largest.clamp(min=LEAST) ** (1 - alpha)).clamp(min=LEAST)
