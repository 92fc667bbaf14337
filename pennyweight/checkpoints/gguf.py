"""A GGUF model as a checkpoint: its names are the canonical ones already, so only rows have to be decoded."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats, kernels
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.tensor import StoredTensor


def open_gguf_checkpoint(path: str | Path) -> Checkpoint:
    """Open a GGUF model of any architecture; of a split one, all parts.

    Raises:
        BadRequest: no such file.
        FormatError: not a sound GGUF file, or a part of it is missing.
    """
    file = open_gguf(path)
    tensors = tuple(_lazy(tensor) for tensor in file.tensors.values())
    return Checkpoint(metadata=file.metadata, tensors=tensors, source=str(path), files=file.paths)


def _lazy(tensor: StoredTensor) -> LazyTensor:
    def read_rows(start: int, stop: int) -> NDArray[np.float32]:
        data = tensor.rows(start, stop)  # first: it knows best what to say of a type that does not exist here
        return kernels.decode(formats.get(tensor.format), data)

    return LazyTensor(
        name=tensor.name,
        shape=tensor.shape,
        format=tensor.format,
        nbytes=tensor.nbytes,
        read_rows=read_rows,
        raw_rows=tensor.rows,
    )
