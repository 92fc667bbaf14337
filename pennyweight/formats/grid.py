"""What a format offers to a method: fit a group's parameters, round columns to codes, pack codes.

Every grid, whatever its bytes, is described by one formula, so that a method needs no case for each:

    w[i, j] = step[i, g] · (value(code) − zero[i, g]) − minimum[i, g]      g = j // group_size

`value` is the code itself on a uniform grid, or a place in a table (`Levels`: IQ4, FP8). `fit` gives step, zero and
minimum as a reader of the packed bytes will compute them, *before* anything is rounded: error feedback sees what the
decoder will see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats.base import Blocks, Codes, Floats
from pennyweight.formats.codes import BlockCodes, Float8Codes, IntegerCodes
from pennyweight.formats.spqr_codes import SpQRCodes

PackedCodes = IntegerCodes | Float8Codes | BlockCodes | SpQRCodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The values of a grid that is not uniform.

    Attributes:
        values: float32 (count,), ascending; code k stands for values[k].
        thresholds: float32 (count − 1,): a number x becomes code k where thresholds[k − 1] ≤ x < thresholds[k].
    """

    values: NDArray[np.float32]
    thresholds: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The numbers of each group, final: what a decoder will compute from the bytes.

    Attributes:
        step, zero, minimum: float32 (rows, groups).
        blocks: the blocks (rows, blocks per row) of a GGUF format with the codes of its own search, which `pack`
            replaces; None for other grids.
    """

    step: NDArray[np.float32]
    zero: NDArray[np.float32]
    minimum: NDArray[np.float32]
    blocks: Blocks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One grid.

    Attributes:
        name: `INT4_G128`, `INT3_G128_ASYM`, `INT8`, `Q4_K`, `IQ4_XS`, `FP8_E4M3`.
        top: largest code; codes are 0 to top.
        group_size: columns that share step, zero and minimum; 0 where a whole row does.
        unit: columns that are fitted together: the group, or a super-block's 256; 0 where a whole row is.
        ragged: whether the last unit of a row may be short.
        levels: values of the codes; None where a code is its own value.
        fit_rows: (weight, importance) → parameters; weight is float32 (rows, columns) of whole units, finite;
            importance is float32 (columns,), mean x² of the activation that meets each column, or None.
        fitted_codes: parameters → the codes that the fit's own search chose, uint8 (rows, columns); None where a fit
            chooses no codes.
        pack_codes: (codes uint8 (rows, columns), parameters) → what a checkpoint writes.
        stored_bits: (rows, columns) → bits of the packed matrix, scales and zero points counted.
        searching: (the same grid with a search for the scales of least weighted squared error) or None where `fit_rows`
            searches already.
    """

    name: str
    top: int
    group_size: int
    unit: int
    ragged: bool
    levels: Levels | None
    fit_rows: Callable[[Floats, Floats | None], Parameters]
    pack_codes: Callable[[Codes, Parameters], PackedCodes]
    stored_bits: Callable[[int, int], float]
    fitted_codes: Callable[[Parameters], Codes] | None = None
    searching: "Callable[[], Grid] | None" = None

    def groups(self, columns: int) -> NDArray[np.int32]:
        """The group of each column, int32 (columns,)."""
        return np.arange(columns, dtype=np.int32) // np.int32(self.group_size or max(columns, 1))

    def bits_per_weight(self, rows: int, columns: int) -> float:
        """Stored bits per weight of a matrix of that shape, scales and zero points counted."""
        return self.stored_bits(rows, columns) / (rows * columns)

    def check_columns(self, columns: int) -> None:
        """Raises: ShapeError where rows of `columns` are not whole units and the grid needs them whole."""
        if not self.ragged and self.unit and columns % self.unit:
            raise ShapeError(
                f"{self.name} needs rows in multiples of {self.unit} weights, got {columns}; "
                f"use {'IQ4_NL or Q4_0 (32)' if columns % 32 == 0 else 'INT4_G128 or F16'} or pad the row"
            )

    def fit(self, weight: Floats, importance: Floats | None = None) -> Parameters:
        """Parameters of float32 (rows, columns), whole units of columns.

        Raises:
            ShapeError: columns that are not whole units, importance of another length.
        """
        columns = weight.shape[1]
        self.check_columns(columns)
        if importance is not None and importance.shape != (columns,):
            raise ShapeError(f"{self.name}: importance has shape {importance.shape}, wanted ({columns},)")
        with np.errstate(all="ignore"):  # the searches divide by zero as C does: infinity and NaN lose
            return self.fit_rows(weight, importance)

    def nearest(self, weight: Floats, parameters: Parameters) -> Codes:
        """Codes of the weight that was fitted, as the format's own encoder has them: uint8 (rows, columns)."""
        return self.round(weight, parameters) if self.fitted_codes is None else self.fitted_codes(parameters)

    def round(self, weight: Floats, parameters: Parameters) -> Codes:
        """The nearest code of each number: float32 (rows, columns) → uint8 (rows, columns)."""
        group = self.groups(weight.shape[1])
        step, zero, minimum = (p[:, group] for p in (parameters.step, parameters.zero, parameters.minimum))
        usable = step != 0
        scaled = np.where(usable, (weight + minimum) / np.where(usable, step, np.float32(1)), np.float32(0))
        if self.levels is not None:
            return np.searchsorted(self.levels.thresholds, scaled, side="right").astype(np.uint8)
        return np.clip(np.rint(scaled) + zero, 0, self.top).astype(np.uint8)

    def decode(self, codes: Codes, parameters: Parameters) -> Floats:
        """The numbers that codes stand for: uint8 (rows, columns) → float32, bit for bit what the packed bytes give."""
        group = self.groups(codes.shape[1])
        step, zero, minimum = (p[:, group] for p in (parameters.step, parameters.zero, parameters.minimum))
        value = codes.astype(np.float32) if self.levels is None else self.levels.values[codes]
        return step * (value - zero) - minimum

    def pack(self, codes: Codes, parameters: Parameters) -> PackedCodes:
        """What a checkpoint writes; its `decode()` equals `decode(codes, parameters)`."""
        return self.pack_codes(codes, parameters)

    def with_search(self) -> "Grid":
        """The grid that searches its scales. Raises: BadRequest where its fit is a search in any case."""
        if self.searching is None:
            raise BadRequest(f"{self.name} searches its own scales; leave the clip search out")
        return self.searching()


def join(parts: list[Parameters]) -> Parameters:
    """Parameters of neighbouring column ranges as those of the whole rows."""

    def joined(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, axis=1)

    return Parameters(**{name: joined(name) for name in ("step", "zero", "minimum", "blocks")})
