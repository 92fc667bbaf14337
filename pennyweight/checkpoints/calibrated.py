"""Calibrated checkpoints read back: packed modules as matrices of float32, decoded row by row when asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.layouts import reader_of
from pennyweight.containers.source import Source
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import FormatError


class DecodedTensor:
    """A quantized module under the name of the weight that it stands for, with a `StoredTensor`'s face.

    Attributes:
        format: what `rows` gives, F32.
        label: what it is stored in (`INT4_G128`).
        stored_bytes: bytes of the module's tensors, scales and all.
        input_scale: → the stored scale of static activations; None where they have none.
    """

    format = "F32"

    def __init__(self, module: PackedModule) -> None:
        self.name, self.shape = f"{module.name}.weight", module.shape
        self.label, self.stored_bytes = module.scheme.label, module.nbytes
        self.row_count, self.row_bytes = module.shape[0], 4 * module.shape[1]
        self._read_rows, self.input_scale = module.read_rows, module.input_scale

    source: Source
    """The file of its first tensor, for messages."""

    def rows(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Rows [start, stop) as float32: uint8 (stop − start, 4 · columns)."""
        if not 0 <= start <= stop <= self.row_count:
            raise IndexError(f"{self.name} has {self.row_count} rows, asked for {start} to {stop}")
        found = np.ascontiguousarray(self._read_rows(start, stop), np.float32).view(np.uint8)
        if out is None:
            return found
        out[...] = found
        return out


def decoded(stored: Mapping[str, StoredTensor], configuration: Any) -> dict[str, StoredTensor | DecodedTensor]:
    """A directory's tensors, the packed ones replaced by the weights that they stand for.

    Raises: FormatError, UnsupportedModel, as the layouts' readers do.
    """
    modules = packed_modules(stored, configuration)
    packed = {tensor.name for module in modules for tensor in module.tensors}
    found: dict[str, StoredTensor | DecodedTensor] = {k: v for k, v in stored.items() if k not in packed}
    for module in modules:
        tensor = DecodedTensor(module)
        tensor.source = module.tensors[0].source
        if tensor.name in found:
            raise FormatError(f"{tensor.name} is there packed and unpacked")
        found[tensor.name] = tensor
    return found


def packed_modules(stored: Mapping[str, StoredTensor], configuration: Any) -> list[PackedModule]:
    """The quantized modules among a directory's tensors, by its `quantization_config`."""
    if not isinstance(configuration, Mapping):
        raise FormatError("config.json: quantization_config is not a JSON object")
    return reader_of(configuration).modules(stored, configuration)
