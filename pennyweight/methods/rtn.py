"""Round-to-nearest: each weight to the nearest code of its grid; the scales from the extremes, or searched.

On a GGUF format this is the encoder itself, with the importance mean x² where statistics are given: the bytes of
`pennyweight.kernels.encode`, and so of llama.cpp with an importance matrix.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.formats.grid import Grid
from pennyweight.methods.quantized import Quantized, check_weight, name_of, packed
from pennyweight.methods.statistics import Statistics, importance

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class RtnConfig:
    """Attributes:
    clip_search: choose the range of each group that gives the least squared error, weighted by mean x² where there
        are statistics, instead of the extremes (integer grids; a GGUF format always searches).
    """

    clip_search: bool = False


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, grid: Grid, config: RtnConfig = RtnConfig()
) -> Quantized:
    """Round float32 (rows, columns) to `grid`; statistics, where given, weigh the errors of a search.

    Raises: BadWeights, ShapeError.
    """
    check_weight(weight, name_of(statistics))
    if config.clip_search and grid.searching is not None:
        grid = grid.with_search()
    array = np.ascontiguousarray(weight.detach().float().cpu().numpy())
    parameters = grid.fit(array, importance(statistics))
    return packed(grid, grid.nearest(array, parameters), parameters, weight)
