"""What a format is: one value that declares its layout once; sizes, offsets and bits per weight are derived from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats.sizes import whole_blocks

Floats = NDArray[Any]
"""Float32. `Any`, here and below: NumPy's stubs believe that float32 · uint8 is float64 and uint8 & 15 a signed int."""

Codes = NDArray[Any]
"""Uint8: codes, or bytes they are packed into."""

Blocks = NDArray[np.void]
"""Structured array of a format's `layout`, one element per block, shape (rows, blocks per row)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What a reader computes of each group:  w = step · (value(code) − zero) − minimum,  float32 (..., groups) each."""

    step: Floats
    zero: Floats
    minimum: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGrid:
    """How a method reaches into the blocks of a format: the steps they fix, and the codes it may choose itself.

    Attributes:
        top: largest code.
        group_size: weights that share a step.
        read_codes: blocks (...) → uint8 (..., block_size), in the order of the weights.
        write_codes: (blocks, codes (..., block_size)): puts them in, in place; everything else stays.
        read_steps: blocks (...) → `Steps`.
        values: what code k stands for, float32 (top + 1,), ascending; None where it is k.
    """

    top: int
    group_size: int
    read_codes: Callable[[Blocks], Codes]
    write_codes: Callable[[Blocks, Codes], None]
    read_steps: Callable[[Blocks], Steps]
    values: NDArray[np.float32] | None = None


def symmetric_steps(step: Floats, zero: int) -> Steps:
    """w = step · (code − zero), no minimum."""
    return Steps(step=step, zero=np.full_like(step, zero), minimum=np.zeros_like(step))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFormat:
    """How rows of numbers become bytes. A format of single numbers (F16) is one whose block holds one weight.

    Attributes:
        name: the field's name, as `ggml_type_name` prints it in capitals (`Q4_K`, `IQ4_XS`, `BF16`).
        ggml_type: the id in GGUF files; None for a format that GGUF does not have (FP8).
        block_size: weights in one block; a row's length must be a multiple of it.
        layout: NumPy structured dtype of one block, little-endian, packed; its itemsize is the block's bytes.
        encode_blocks: (weights, importance) → blocks, where weights is float32 (rows, blocks, block_size),
            importance is float32 (blocks, block_size), shared by all rows, or None, and blocks has dtype `layout`
            and shape (rows, blocks). Weights are finite. None where Pennyweight only reads the format.
        decode_blocks: blocks of shape (rows, blocks) → float32 (rows, blocks, block_size).
        uses_importance: whether `importance` changes the bytes at all.
        source: where the layout and the search are defined.
        grid: what a method rounds on; None where each number stands alone or is only read.
    """

    name: str
    ggml_type: int | None
    block_size: int
    layout: np.dtype
    encode_blocks: Callable[[NDArray[np.float32], NDArray[np.float32] | None], Blocks] | None
    decode_blocks: Callable[[Blocks], NDArray[np.float32]]
    uses_importance: bool
    source: str
    grid: CodeGrid | None = None

    @property
    def writable(self) -> bool:
        """Whether Pennyweight encodes this format, or only reads it."""
        return self.encode_blocks is not None

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return self.layout.itemsize

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.block_bytes / self.block_size

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row of `columns` weights. Raises: ShapeError where the row is not whole blocks."""
        return whole_blocks(self.name, self.block_size, columns) * self.block_bytes

    def encode(self, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """Encode rows, by definition (readable NumPy; `pennyweight.kernels.encode` gives the same bytes, fast).

        Args:
            rows: float32 (rows, columns), finite.
            importance: float32 (columns,), mean x² of the activation that meets each column, or None.

        Returns:
            uint8 (rows, row_bytes).

        Raises:
            ShapeError: rows that are not whole blocks, or importance of another length.
            BadRequest: a format that is only read.
        """
        if self.encode_blocks is None:
            raise BadRequest(f"{self.name} can be read but not written; choose a format of pennyweight.formats.ALL")
        count, columns = rows.shape
        row_bytes = self.row_bytes(columns)
        blocks = rows.astype(np.float32, copy=False).reshape(count, columns // self.block_size, self.block_size)
        if importance is not None:
            if importance.shape != (columns,):
                raise ShapeError(f"{self.name}: importance has shape {importance.shape}, wanted ({columns},)")
            importance = importance.astype(np.float32, copy=False).reshape(-1, self.block_size)
        # The searches divide by zero and overflow as C does, silently: infinity and NaN lose every comparison.
        with np.errstate(all="ignore"):
            packed = np.ascontiguousarray(self.encode_blocks(blocks, importance))
        return packed.view(np.uint8).reshape(count, row_bytes)

    def decode(self, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode uint8 (rows, row_bytes) → float32 (rows, columns), bit for bit what llama.cpp reads."""
        count, row_bytes = data.shape
        if row_bytes % self.block_bytes:
            raise ShapeError(f"{self.name} rows are multiples of {self.block_bytes} bytes, got {row_bytes}")
        per_row = row_bytes // self.block_bytes
        blocks = np.ascontiguousarray(data).view(self.layout).reshape(count, per_row)
        # Hostile bytes hold infinite scales; what they decode to is defined, so NumPy has nothing to warn of.
        with np.errstate(all="ignore"):
            return self.decode_blocks(blocks).astype(np.float32, copy=False).reshape(count, per_row * self.block_size)
