"""AWQ's clip search: limit the largest weights of each group where that lowers the group's output error.

For each row and group the limits max|w| · p, p = 1, 1 − 1/20, …, above 1/2, are tried; the error is Δ H_g Δᵀ with H_g
the group's block of the Hessian, which is the mean of (Δ · x)² over the group's inputs, exactly.

Source: Lin et al., AWQ (arXiv 2306.00978); AutoAWQ quantize/quantizer.py `_compute_best_clip`. Not for query and key
projections, whose product is more delicate than their outputs; the caller leaves them out.
"""

from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest
from pennyweight.formats.grid import Grid
from pennyweight.transforms.awq_scale import round_to_nearest

if TYPE_CHECKING:
    import torch

STEPS, TRIED = 20, 10


def clip(weight: "torch.Tensor", hessian: "torch.Tensor", grid: Grid) -> "torch.Tensor":
    """The weight, float32 (rows, columns), clipped group by group; hessian is the mean of x xᵀ, (columns, columns).

    Raises: BadRequest for a grid that searches its own scales (a GGUF format) or has no range (FP8).
    """
    import torch

    if grid.searching is None:
        raise BadRequest(f"awq's clip search needs an integer grid, got {grid.name}")
    columns = weight.shape[1]
    size = grid.group_size or columns
    parts = []
    for start in range(0, columns, size):
        stop = min(start + size, columns)
        parts.append(_clip_group(weight[:, start:stop].float(), hessian[start:stop, start:stop], grid))
    return torch.cat(parts, dim=1).to(weight.dtype)


def _clip_group(weight: "torch.Tensor", hessian: "torch.Tensor", grid: Grid) -> "torch.Tensor":
    import torch

    largest = weight.abs().amax(1, keepdim=True)
    best = torch.full_like(largest, float("inf"))
    limit = largest
    for step in range(TRIED):
        tried = largest * (1 - step / STEPS)
        difference = weight - round_to_nearest(weight.clamp(-tried, tried), grid, None)
        error = (difference @ hessian * difference).sum(1, keepdim=True)
        limit, best = torch.where(error < best, tried, limit), torch.minimum(error, best)
    return weight.clamp(-limit, limit)
