"""A finished run as a checkpoint: the original's tensors, those of the blocks replaced by what the journal holds."""

import threading
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight import kernels
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.formats.codes import BlockCodes
from pennyweight.pipeline.journal import BlockJournal
from pennyweight.pipeline.reports import LayerReport

_HELD = 4
"""Tensors of the journal in memory at once: writers go tensor by tensor, a few threads overlap at a border."""


class FinishedRun:
    """Codes, changed tensors and reports of all blocks, read from the journal when asked for.

    Attributes:
        codes: names of tensors that have codes. floats: of those a transform changed and nothing rounded.
    """

    def __init__(self, journal: BlockJournal, blocks: int) -> None:
        """Every block must be in the journal."""
        self._journal, self._blocks = journal, blocks
        self.codes, self.floats = dict[str, int](), dict[str, int]()
        for block in range(blocks):
            codes, floats = journal.names(block)
            self.codes |= dict.fromkeys(codes, block)
            self.floats |= dict.fromkeys(floats, block)
        self._lock = threading.Lock()
        self._cached = lru_cache(_HELD)(lambda name: journal.codes(self.codes[name], name))

    def matrices(self, name: str) -> tuple[Any, ...]:
        """Codes of a tensor, one or one for each expert."""
        with self._lock:
            return self._cached(name)

    def values(self, name: str) -> NDArray[np.float32]:
        """float32 rows of a changed tensor."""
        return self._journal.floats(self.floats[name], name)

    def reports(self) -> tuple[LayerReport, ...]:
        """How every matrix fared, block by block."""
        return tuple(report for block in range(self._blocks) for report in self._journal.reports(block))

    def changed(self, tensor: LazyTensor) -> LazyTensor:
        """The tensor with a transform's values, where it has any, else as it was."""
        if tensor.name not in self.floats:
            return tensor

        def read_rows(start: int, stop: int) -> NDArray[np.float32]:
            return self.values(tensor.name)[start:stop]

        return LazyTensor(
            name=tensor.name,
            shape=tensor.shape,
            format="F32",
            nbytes=4 * tensor.rows * tensor.columns,
            read_rows=read_rows,
            raw_rows=lambda start, stop: read_rows(start, stop).view(np.uint8),
        )


def with_block_codes(checkpoint: Checkpoint, run: FinishedRun) -> tuple[LazyTensor, ...]:
    """The checkpoint's tensors with the bytes of a GGUF run in the place of those it rounded."""
    return tuple(
        _stored(tensor, run) if tensor.name in run.codes else run.changed(tensor) for tensor in checkpoint.tensors
    )


def _stored(tensor: LazyTensor, run: FinishedRun) -> LazyTensor:
    first = run.matrices(tensor.name)[0]
    assert isinstance(first, BlockCodes)
    format, height = first.format, len(first.data)

    def raw_rows(start: int, stop: int) -> NDArray[np.uint8]:
        matrices = run.matrices(tensor.name)
        out = np.empty((stop - start, format.row_bytes(tensor.columns)), np.uint8)
        row = start
        while row < stop:
            matrix, inside = divmod(row, height)
            count = min(stop - row, height - inside)
            out[row - start : row - start + count] = matrices[matrix].data[inside : inside + count]
            row += count
        return out

    return LazyTensor(
        name=tensor.name,
        shape=tensor.shape,
        format=format.name,
        nbytes=tensor.rows * format.row_bytes(tensor.columns),
        read_rows=lambda start, stop: kernels.decode(format, raw_rows(start, stop)),
        raw_rows=raw_rows,
    )
