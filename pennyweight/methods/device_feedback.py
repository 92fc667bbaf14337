"""Rounding with error feedback on any device that PyTorch has; the same numbers as the compiled rows but for last bits.

Sums run as the device's matrix product has them, and a grid's minimum is added before a sum, not after.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.base import Codes
from pennyweight.formats.grid import Grid, Parameters
from pennyweight.methods.factor import Factor

if TYPE_CHECKING:
    import torch


class DeviceRows:
    """What `feedback.Rows` is, in PyTorch's own operations; columns are the slow axis.

    A device waits for Python, not Python for it, so a column is six operations, in place and without a look at any
    result; what can be done for a whole block of columns is. Numbers of a block have the grid's minimum added.
    """

    def __init__(self, weight: "torch.Tensor", factor: Factor, grid: Grid, lazy_columns: int) -> None:
        import torch

        self.count, self.columns = weight.shape
        self._grid, self._lazy = grid, lazy_columns
        self._order = factor.order if factor.act_order else None
        self._weight = weight.T.contiguous() if self._order is None else weight.T.index_select(0, self._order)
        self._delta = torch.zeros_like(self._weight)
        self._codes = torch.zeros(self._weight.shape, dtype=torch.uint8, device=weight.device)
        self._loss = torch.zeros(self.count, dtype=torch.float64, device=weight.device)
        self._below, self._curvature = factor.below, factor.curvature
        self._thresholds, self._values = (
            (None, None)
            if grid.levels is None
            else (
                torch.from_numpy(np.array(part, np.float32)).to(weight.device)
                for part in (grid.levels.thresholds, grid.levels.values)
            )
        )

    def updated(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `Rows.updated`."""
        return self._updated(slice(start, stop)).T.contiguous().cpu().numpy()

    def round(self, start: int, stop: int, group: NDArray[np.int32], parameters: Parameters) -> None:
        """See `Rows.round`."""
        import torch

        device = self._weight.device
        numbers = [
            torch.from_numpy(part).to(device).T.contiguous()
            for part in (parameters.step, parameters.zero, parameters.minimum)
        ]
        places = torch.from_numpy(group).to(device)
        for first in range(start, stop, self._lazy):
            span = slice(first, min(first + self._lazy, stop))
            self._round_block(span, *(part.index_select(0, places[span]) for part in numbers))

    def codes(self) -> Codes:
        """See `Rows.codes`."""
        return self._stored(self._codes).cpu().numpy()

    def decoded(self) -> "torch.Tensor":
        """See `Rows.decoded`."""
        return self._stored(self._weight)

    @property
    def loss(self) -> float:
        """See `Rows.loss`."""
        return float(self._loss.sum())

    def _stored(self, columns: "torch.Tensor") -> "torch.Tensor":
        """(columns, rows) in the order of processing → (rows, columns) in the stored order."""
        if self._order is not None:
            columns = columns.index_select(0, self._order.argsort())
        return columns.T.contiguous()

    def _updated(self, span: slice) -> "torch.Tensor":
        return self._weight[span].addmm(self._below[span, : span.start], self._delta[: span.start])

    def _round_block(self, span: slice, step: "torch.Tensor", zero: "torch.Tensor", minimum: "torch.Tensor") -> None:
        """Round the columns of `span`; step, zero and minimum of each number, (columns of the span, rows)."""
        import torch

        wanted, original = self._updated(span).add_(minimum), self._weight[span] + minimum
        divisor = torch.where(step != 0, step, torch.inf)  # a step of zero decodes to zero: code `zero`, as compiled
        level, delta, below = torch.empty_like(wanted), self._delta[span], self._below[span, span]
        product = torch.empty_like(wanted)
        nearest = self._nearest(zero)
        columns = zip(
            *(part.unbind() for part in (wanted, divisor, step, level, product, original, delta)), strict=True
        )
        for j, (numbers, divide, size, found, decoded, before, error) in enumerate(columns):
            nearest(j, torch.div(numbers, divide, out=found))
            torch.sub(before, torch.mul(found, size, out=decoded), out=error)
            wanted[j + 1 :].addr_(below[j + 1 :, j], error)
        self._codes[span] = self._codes_of(level, zero)
        self._weight[span] = product - minimum
        self._loss += ((wanted - product).square() * self._curvature[span, None]).sum(0, dtype=torch.float64)

    def _nearest(self, zero: "torch.Tensor") -> "Callable[[int, torch.Tensor], object]":
        """(column of the block, scaled numbers (rows,)) → the numbers become value(code) − zero, in place."""
        import torch

        zeros = zero.unbind()
        if self._thresholds is None or self._values is None:
            least, most = (-zero).unbind(), (self._grid.top - zero).unbind()
            # Clamped before it is rounded: the bounds are whole numbers.
            return lambda j, x: torch.clamp(x, least[j], most[j], out=x).round_()

        thresholds, values = self._thresholds, self._values

        def to_levels(j: int, x: torch.Tensor) -> None:
            torch.sub(values[torch.bucketize(x, thresholds, right=True)], zeros[j], out=x)

        return to_levels

    def _codes_of(self, level: "torch.Tensor", zero: "torch.Tensor") -> "torch.Tensor":
        """uint8 codes of value(code) − zero."""
        import torch

        code = level + zero
        return (code if self._values is None else torch.searchsorted(self._values, code)).to(torch.uint8)
