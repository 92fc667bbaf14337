"""What every checkpoint gives: tensors under GGUF's names (`blk.3.attn_q.weight`), row by row, and GGUF metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.activations import StatedInputs
from pennyweight.containers.gguf import GGUFValue


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyTensor:
    """One tensor that stays on disk until rows of it are asked for.

    Attributes:
        name: canonical name, GGUF's.
        shape: NumPy order (slowest first; the last axis is the row), the reverse of GGUF's `ne`.
        format: name of the format it is stored in (`F32`, `BF16`, `Q4_K`, …).
        nbytes: bytes of all rows in that format, without padding.
        read_rows: (start, stop) → float32 (stop - start, columns); rows count over all leading axes, so an expert
            tensor (experts, out, in) has experts · out rows. Safe to call from several threads at once.
        raw_rows: (start, stop) → uint8 (stop - start, row_bytes), the stored bytes, for a tensor copied as it is.
        input_scales: → the stored scales of what multiplies it, one or one for each expert; None where it has none.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    nbytes: int
    read_rows: Callable[[int, int], NDArray[np.float32]]
    raw_rows: Callable[[int, int], NDArray[np.uint8]]
    input_scales: Callable[[], tuple[float, ...]] | None = None

    @property
    def columns(self) -> int:
        """Weights in one row."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Rows over all leading axes."""
        return prod(self.shape[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model on disk as canonical tensors and GGUF metadata, whatever files it came from.

    Attributes:
        metadata: GGUF key → typed value, tokenizer included, in file order.
        tensors: canonical tensors, in the file's order or, of other layouts, the family table's.
        source: the path or name it was read from, for messages.
        files: the files it is read from, which an output must not replace.
        inputs: what runtimes do to the inputs of its quantized layers; None where these stay as they are.
    """

    metadata: Mapping[str, GGUFValue]
    tensors: tuple[LazyTensor, ...]
    source: str
    files: tuple[Path, ...]
    inputs: StatedInputs | None = None
