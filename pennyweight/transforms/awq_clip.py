"""AWQ's clip search: limit the range of each group where that lowers the layer's output error.

For each row and group the ranges [min · p, max · p], p = 1, 0.975, … 0.5, are tried, and the one of least tr(Δ H Δᵀ),
Δ = W − Q, is taken, one group after another with the errors of all other groups as they then are:

    Δ_g H_gg Δ_gᵀ + 2 Σ_{h≠g} Δ_h H_hg Δ_gᵀ

No step raises the error, which is exact from the Hessian. The reference stops at the first term, on 512 tokens, so it
does not see errors of two groups add up or cancel, as they do where inputs have a mean. It tries ten limits above 1/2,
and leaves out query and key projections, whose product is more delicate than their outputs; here they are clipped too.

Source: Lin et al., AWQ (arXiv 2306.00978); AutoAWQ quantize/quantizer.py `_compute_best_clip`.
"""

from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest
from pennyweight.formats.grid import Grid, Parameters, join
from pennyweight.formats.integer_grid import range_parts

if TYPE_CHECKING:
    import torch

SWEEPS = 2
"""Times that each group is tried."""


def clip(weight: "torch.Tensor", hessian: "torch.Tensor", grid: Grid, sweeps: int = SWEEPS) -> Parameters:
    """Scales and zero points of the ranges that lose least, for float32 (rows, columns).

    Args:
        hessian: float32 (columns, columns), mean of x xᵀ.

    Raises: BadRequest for a grid that searches its own scales (a GGUF format) or has no range (FP8).
    """
    import torch

    if grid.searching is None:
        raise BadRequest(f"awq's clip search needs an integer grid, got {grid.name}")
    weight = weight.detach().float()
    columns, size = weight.shape[1], grid.group_size or weight.shape[1]
    groups = [slice(start, min(start + size, columns)) for start in range(0, columns, size)]
    tried = [_ranges(weight[:, group], grid) for group in groups]
    chosen = [torch.zeros(len(weight), dtype=torch.int64, device=weight.device) for _ in groups]
    missed = torch.cat([_missed(weight[:, group], of[0], grid) for group, of in zip(groups, tried, strict=True)], dim=1)
    carried = missed @ hessian  # Δ H, kept up to date
    for place, group in (pair for _ in range(sweeps) for pair in enumerate(groups)):
        own = hessian[group, group]
        others = carried[:, group] - missed[:, group] @ own
        chosen[place], miss = _choose(weight[:, group], tried[place], own, others, grid)
        carried += (miss - missed[:, group]) @ hessian[group]
        missed[:, group] = miss
    return join([_taken(of, index) for of, index in zip(tried, chosen, strict=True)])


def _ranges(weight: "torch.Tensor", grid: Grid) -> list[Parameters]:
    """Parameters of all that may be chosen for one group, the whole range first: they follow from the extremes."""
    low = weight.amin(1, keepdim=True).clamp(max=0).cpu().numpy()
    high = weight.amax(1, keepdim=True).clamp(min=0).cpu().numpy()
    return [grid.fit(np.concatenate((low * part, high * part), axis=1)) for part in range_parts()]


def _choose(
    weight: "torch.Tensor", tried: list[Parameters], own: "torch.Tensor", others: "torch.Tensor", grid: Grid
) -> "tuple[torch.Tensor, torch.Tensor]":
    """For each row of one group the place of the range with the least error, and what is then missed (rows, n).

    Args:
        own: (n, n), the group's block of the Hessian.
        others: (rows, n), Σ Δ_h H_hg over the other groups.
    """
    import torch

    best = torch.full((len(weight), 1), float("inf"), device=weight.device)
    chosen, missed = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(weight)
    for place, parameters in enumerate(tried):
        miss = _missed(weight, parameters, grid)
        error = (miss * (miss @ own + 2 * others)).sum(1, keepdim=True)
        better = error < best
        best, missed = torch.where(better, error, best), torch.where(better, miss, missed)
        chosen[better] = place
    return chosen[:, 0], missed


def _missed(weight: "torch.Tensor", parameters: Parameters, grid: Grid) -> "torch.Tensor":
    """Weight − its nearest numbers, of one group: `grid.round` and `grid.decode` on the weight's device."""
    import torch

    step, zero = (torch.from_numpy(values).to(weight.device) for values in (parameters.step, parameters.zero))
    code = (weight / torch.where(step > 0, step, 1.0)).round().add_(zero).clamp_(0, grid.top)
    return weight - step * (code - zero)


def _taken(tried: list[Parameters], chosen: "torch.Tensor") -> Parameters:
    """Of each row the chosen parameters."""
    index = chosen.cpu().numpy()[None, :, None]
    step, zero = (np.take_along_axis(np.stack([getattr(p, n) for p in tried]), index, 0)[0] for n in ("step", "zero"))
    return Parameters(step=step, zero=zero, minimum=np.zeros_like(step))
