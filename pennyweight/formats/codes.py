"""What a method hands to a checkpoint: integers and their scales, before any file's packing.

The conventions of packed files differ (zero points less one, offset signs, interleaved nibbles); these do not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.formats.base import BlockFormat
from pennyweight.formats.fp8_e4m3 import FP8_E4M3


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerCodes:
    """A matrix on an integer grid:  w[i, j] = scale[i, g] · (codes[i, j] − zero_point[i, g])  with g = j // group_size.

    Attributes:
        bits: width of a code, 2 to 8.
        group_size: columns that share a scale; `columns` for one scale per row. The last group may be short.
        symmetric: every zero point is 2^(bits − 1).
        codes: uint8 (rows, columns), 0 to 2^bits − 1.
        scale: float32 (rows, groups), each exactly a float16.
        zero_point: uint8 (rows, groups), 0 to 2^bits − 1.
    """

    bits: int
    group_size: int
    symmetric: bool
    codes: NDArray[np.uint8]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.uint8]

    def decode(self) -> NDArray[Any]:
        """The weights that these codes stand for, float32 (rows, columns)."""
        columns = self.codes.shape[1]
        scale = np.repeat(self.scale, self.group_size, axis=1)[:, :columns]
        zero_point = np.repeat(self.zero_point, self.group_size, axis=1)[:, :columns]
        return scale * (self.codes.astype(np.float32) - zero_point.astype(np.float32))

    @property
    def stored_bits(self) -> int:
        """Bits of codes, float16 scales and (where asymmetric) zero points."""
        return self.codes.size * self.bits + self.scale.size * (16 + (0 if self.symmetric else self.bits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Float8Codes:
    """A matrix of FP8 numbers:  w[i, j] = scale[i or 0] · float8(codes[i, j]).

    Attributes:
        format: `FP8_E4M3`.
        codes: uint8 (rows, columns), the bits of each number.
        scale: float32 (rows, 1) per channel, (1, 1) per tensor.
        input_scale: float32 scalar of static activations; None where they are scaled token by token.
    """

    format: str
    codes: NDArray[np.uint8]
    scale: NDArray[np.float32]
    input_scale: float | None = None

    def decode(self) -> NDArray[Any]:
        """The weights that these codes stand for, float32 (rows, columns)."""
        return self.scale * FP8_E4M3.decode(self.codes)

    @property
    def stored_bits(self) -> int:
        """Bits of codes and float32 scales."""
        return self.codes.size * 8 + self.scale.size * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCodes:
    """A matrix in a GGUF format: the very bytes that a file holds.

    Attributes:
        format: `Q4_K`, `IQ4_XS`.
        data: uint8 (rows, row_bytes).
    """

    format: BlockFormat
    data: NDArray[np.uint8]

    def decode(self) -> NDArray[Any]:
        """The weights that these bytes stand for, float32 (rows, columns)."""
        return self.format.decode(self.data)

    @property
    def stored_bits(self) -> int:
        """Bits of all blocks."""
        return self.data.size * 8
