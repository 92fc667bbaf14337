"""What SpQR makes of a matrix: 3-bit codes, whose scales and zero points are 3-bit codes themselves, and outliers.

With g = j // group_size and r = i // 16, all products float32:

    scale[i, g] = second[r, g, 0] · (scale_codes[i, g] − second[r, g, 1])
    zero[i, g]  = second[r, g, 2] · (zero_codes[i, g] − second[r, g, 3])
    w[i, j]     = scale[i, g] · (codes[i, j] − zero[i, g]);  an outlier replaces it

Source: Dettmers et al. 2023, arXiv:2306.03078, section 4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.dense_bits import WORD_BITS, words_of

SPQR_TILE = 16
"""Rows whose scales share a second-order one; and the columns that share a scale, in the published layout."""

LEAST_BITS, MOST_BITS = 3.25, 6.0
"""Budgets of the layout without padding: what groups of 64 take, and where half a weight in five is kept apart."""

_WORD_BITS = 64  # a row of a tile: 16 codes, two codes of its own, its part of the second-order numbers, 2 unused bits
OUTLIER_BITS, _COUNT_BITS = 32, 16
"""Of an outlier, value and column; and of how many a row has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpQRCodes:
    """A matrix as SpQR keeps it; the formula stands above.

    Attributes:
        codes: uint8 (rows, columns), 0 to 7; rows and columns in multiples of 16.
        scale_codes, zero_codes: uint8 (rows, groups), 0 to 7.
        second: float32 (rows / 16, groups, 4): scale and zero point of the scales, then of the zero points; each
            exactly a float16.
        outlier_offsets: int64 (rows + 1,), where each row's outliers begin.
        outlier_columns: int32 (outliers,), rising within a row.
        outlier_values: float32 (outliers,), the weight itself.
    """

    codes: NDArray[np.uint8]
    scale_codes: NDArray[np.uint8]
    zero_codes: NDArray[np.uint8]
    second: NDArray[np.float32]
    outlier_offsets: NDArray[np.int64]
    outlier_columns: NDArray[np.int32]
    outlier_values: NDArray[np.float32]

    @property
    def group_size(self) -> int:
        """Columns that share a scale."""
        return self.codes.shape[1] // self.scale_codes.shape[1]

    def decode_dense(self) -> NDArray[Any]:
        """The weights without outliers, float32 (rows, columns)."""
        second = np.repeat(self.second, SPQR_TILE, axis=0)
        scale = second[..., 0] * (self.scale_codes.astype(np.float32) - second[..., 1])
        zero = second[..., 2] * (self.zero_codes.astype(np.float32) - second[..., 3])
        scale, zero = (np.repeat(values, self.group_size, axis=1) for values in (scale, zero))
        return scale * (self.codes.astype(np.float32) - zero)

    def decode(self) -> NDArray[Any]:
        """The weights that these codes stand for, float32 (rows, columns)."""
        weights = self.decode_dense()
        rows = np.repeat(np.arange(len(self.codes)), np.diff(self.outlier_offsets))
        weights[rows, self.outlier_columns] = self.outlier_values
        return weights

    @property
    def stored_bits(self) -> int:
        """Bits of SpQR's own layout: a 64-bit word for 16 weights, 32 bits an outlier and a row's beginning."""
        words = self.codes.size // SPQR_TILE * _WORD_BITS
        return words + OUTLIER_BITS * (self.outlier_values.size + self.outlier_offsets.size)


def dense_bits(rows: int, columns: int, group_size: int, outliers: int) -> int:
    """Bits of the layout without padding (`checkpoints.spqr_dense`): codes, group codes, second order, outliers."""
    groups = rows * columns // group_size
    return (
        WORD_BITS * words_of(columns, 3) * rows
        + (6 + 64 // SPQR_TILE) * groups
        + OUTLIER_BITS * outliers
        + _COUNT_BITS * rows
    )
