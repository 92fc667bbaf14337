"""Which scale each column of a layer's input gets, by the transform that a recipe names."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pennyweight.formats.grid import Grid
from pennyweight.methods.statistics import Statistics
from pennyweight.transforms.awq_scale import search_scale
from pennyweight.transforms.smooth import smoothing_scale

if TYPE_CHECKING:
    import torch

FindScale = Callable[[Sequence["torch.Tensor"], Statistics], "torch.Tensor | None"]
"""(matrices that read one input, its statistics) → scale of each column, float32 (columns,); None for no scale."""


def finder(transform: str, grid: Grid | None) -> FindScale:
    """How `transform` (`awq`, `smooth`) finds scales for layers that are rounded to `grid`."""
    if transform == "smooth":
        return lambda matrices, statistics: smoothing_scale(matrices, statistics.absolute_maximum)

    def searched(matrices: Sequence["torch.Tensor"], statistics: Statistics) -> "torch.Tensor | None":
        assert statistics.hessian is not None
        assert grid is not None  # the grammar refuses awq before a method with a grid of its own
        mean = statistics.hessian / max(statistics.tokens, 1)
        found = search_scale(matrices, statistics.mean_absolute, mean, grid)
        return None if found.ratio is None else found.scale

    return searched
