"""Rounding with error feedback, column after column: compiled rows on the CPU, `device_feedback` elsewhere.

Both compute  w'[j] = w[j] + Σ_{k<j} (w[k] − q[k]) · below[j, k]  on weights whose columns stand in the order of
processing. The compiled one sums strictly in that order, so that `lazy_columns` and threads never change a bit; the
other sums as the device's matrix product does, so that they may change the last bit of w', and with it a tie.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.formats.base import Codes
from pennyweight.formats.grid import Grid, Parameters, join
from pennyweight.methods.device_feedback import DeviceRows
from pennyweight.methods.factor import Factor

if TYPE_CHECKING:
    import torch

Fit = Callable[[NDArray[np.float32], int, int], Parameters]
"""(updated weights of columns start..stop − 1, start, stop) → their parameters."""

LANES = 16
SLAB = 16
"""Tiles of sixteen rows that a thread takes at a time: their errors share the factor while it is in the cache."""


class Rows:
    """A weight (rows, columns) as tiles of sixteen rows, and what error feedback fills: the CPU's side.

    Attributes:
        loss: Σ (w' − q)² · curvature so far, float64.
    """

    def __init__(self, weight: "torch.Tensor", factor: Factor, grid: Grid, lazy_columns: int) -> None:
        self.count, self.columns = weight.shape
        self._grid, self._lazy = grid, lazy_columns
        self._order = factor.order.numpy()
        self._weight, self._target = self._laid(weight)
        self._delta = np.zeros_like(self._weight)
        self._codes = np.zeros(self._weight.shape, np.uint8)
        self._loss = np.zeros((len(self._weight), 1, LANES), np.float32)
        self._below, self._curvature = factor.below.numpy(), factor.curvature.numpy()
        self._reached = 0
        self._levels = _levels(grid)

    def updated(self, start: int, stop: int) -> NDArray[np.float32]:
        """Columns start..stop − 1 as they are wanted once every column before `start` is rounded, (rows, …)."""
        from pennyweight.kernels.feedback import bring_up_to_date

        def bring(tiles: slice) -> None:
            bring_up_to_date(self._target[tiles], self._delta[tiles], self._below, start, stop, 0)

        each_in_threads(bring, _slabs(len(self._weight)), default_threads())
        self._reached = start
        return as_rows(self._target[:, start:stop], self.count)

    def round(self, start: int, stop: int, group: NDArray[np.int32], parameters: Parameters) -> None:
        """Round columns start..stop − 1; `group` (columns,) says which of the parameters' groups each belongs to."""
        from pennyweight.kernels.feedback import round_columns

        step, zero, minimum = (as_tiles(p) for p in (parameters.step, parameters.zero, parameters.minimum))
        span = (start, stop, self._reached, self._lazy)

        def work(tiles: slice) -> None:
            of_rows = tuple(a[tiles] for a in (self._weight, self._target, self._delta, self._codes, self._loss))
            numbers = (step[tiles], zero[tiles], minimum[tiles])
            round_columns(*of_rows, self._below, self._curvature, group, numbers, self._levels, span)

        each_in_threads(work, _slabs(len(self._weight)), default_threads())

    def codes(self) -> Codes:
        """uint8 (rows, columns), in the stored order."""
        return self._stored(self._codes)

    def decoded(self) -> "torch.Tensor":
        """What the codes stand for, float32 (rows, columns), in the stored order, on the weight's device."""
        import torch

        return torch.from_numpy(self._stored(self._weight))

    @property
    def loss(self) -> float:
        """Σ (w' − q)² · curvature over all weights."""
        return float(as_rows(self._loss, self.count).sum(dtype=np.float64))

    def _laid(self, weight: "torch.Tensor") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weight as tiles, columns in the order of processing, twice."""
        from pennyweight.kernels.columns import to_tiles

        rows, shape = np.ascontiguousarray(weight.numpy()), (-(-self.count // LANES), self.columns, LANES)
        laid, copy = np.empty(shape, np.float32), np.empty(shape, np.float32)

        def lay(tiles: slice) -> None:
            to_tiles(rows[_rows_of(tiles)], self._order, laid[tiles], copy[tiles])

        each_in_threads(lay, _slabs(len(laid)), default_threads())
        return laid, copy

    def _stored(self, tiles: NDArray[Any]) -> NDArray[Any]:
        """(tiles, columns, 16) → (rows, columns) in the stored order."""
        from pennyweight.kernels.columns import from_tiles

        rows = np.empty((self.count, self.columns), tiles.dtype)

        def put(part: slice) -> None:
            from_tiles(tiles[part], self._order, rows[_rows_of(part)])

        each_in_threads(put, _slabs(len(tiles)), default_threads())
        return rows


def round_with_feedback(
    weight: "torch.Tensor", factor: Factor, grid: Grid, parameters: Parameters, lazy_columns: int
) -> Rows | DeviceRows:
    """Round all columns with parameters that are known beforehand."""
    import torch

    rows = (Rows if weight.device.type == "cpu" else DeviceRows)(weight, factor, grid, lazy_columns)
    group = grid.groups(rows.columns)[factor.order.cpu().numpy()]
    with torch.no_grad():
        rows.round(0, rows.columns, group, parameters)
    return rows


def round_and_refit(
    weight: "torch.Tensor", factor: Factor, grid: Grid, fit: Fit, lazy_columns: int
) -> tuple[Rows | DeviceRows, Parameters]:
    """Round unit by unit in the stored order, fitting each when it is reached, to the weights as updated by then."""
    rows = (Rows if weight.device.type == "cpu" else DeviceRows)(weight, factor, grid, lazy_columns)
    unit, parts = grid.unit or rows.columns, []
    for start in range(0, rows.columns, unit):
        stop = min(start + unit, rows.columns)
        parts.append(fit(rows.updated(start, stop), start, stop))
        group = np.zeros(rows.columns, np.int32)
        group[start:stop] = grid.groups(stop - start)
        rows.round(start, stop, group, parts[-1])
    return rows, join(parts)


def _levels(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32], np.float32]:
    nothing = np.zeros(0, np.float32)
    if grid.levels is None:
        return nothing, nothing, np.float32(grid.top)
    return grid.levels.thresholds.astype(np.float32), grid.levels.values.astype(np.float32), np.float32(grid.top)


def _slabs(tiles: int) -> list[slice]:
    """Runs of tiles, one for a thread at a time."""
    size = max(1, min(SLAB, -(-tiles // default_threads())))
    return [slice(i, min(i + size, tiles)) for i in range(0, tiles, size)]


def _rows_of(tiles: slice) -> slice:
    """The rows that tiles hold; past the last one there may be none."""
    return slice(tiles.start * LANES, tiles.stop * LANES)


def as_tiles(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, columns) → (tiles, columns, 16), the last tile filled up with zeros."""
    rows, columns = matrix.shape
    tiles = -(-rows // LANES)
    padded = np.pad(matrix, ((0, tiles * LANES - rows), (0, 0)))
    return np.ascontiguousarray(padded.reshape(tiles, LANES, columns).swapaxes(1, 2))


def as_rows(tiles: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(tiles, columns, 16) → (rows, columns)."""
    return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(-1, tiles.shape[1])[:count])
