"""What a layout of calibrated checkpoints is: one value each, with how it packs, configures and reads a matrix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.scheme import Codes, Scheme
from pennyweight.containers.tensor import StoredTensor, TensorInfo
from pennyweight.core.errors import BadRequest
from pennyweight.formats.base import BlockFormat

_FORMATS = {"<f2": "F16", "<f4": "F32", "<i2": "I16", "<i4": "I32", "<i8": "I64", "|i1": "I8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTensor:
    """One stored tensor of a module: `suffix` (`qweight`), shape, format, and its bytes, uint8 (rows, row_bytes)."""

    suffix: str
    shape: tuple[int, ...]
    format: BlockFormat
    data: NDArray[np.uint8]

    def info(self, module: str) -> TensorInfo:
        """Name, shape and format in the file."""
        return TensorInfo(name=f"{module}.{self.suffix}", shape=self.shape, format=self.format)


Refusal = Callable[[Scheme, int, int], str | None]
Pack = Callable[[Codes], tuple[PackedTensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedModule:
    """One quantized matrix of an open file.

    Attributes:
        name: the module's (`model.layers.0.mlp.up_proj`).
        scheme: how it is quantized.
        shape: (rows, columns) of the matrix.
        tensors: what it is stored as.
        codes: (start, stop) → codes of these rows. Safe from several threads. Raises: UnsupportedModel where the codes
            cannot be expressed so (columns grouped by act-order), FormatError for contents that cannot be.
        read_rows: (start, stop) → float32 (stop − start, columns); can read more than `codes` can express.
        input_scale: → the stored scale of static activations; None where they have none.
    """

    name: str
    scheme: Scheme
    shape: tuple[int, int]
    tensors: tuple[StoredTensor, ...]
    codes: Callable[[int, int], Codes]
    read_rows: Callable[[int, int], NDArray[np.float32]]
    input_scale: Callable[[], float] | None = None

    @property
    def nbytes(self) -> int:
        """Stored bytes, scales and all."""
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a directory holds when everything is written, for its configuration.

    Attributes:
        schemes: quantized module → scheme.
        shapes: name → shape of each of their tensors.
        plain: modules of matrices that stay as they are (`lm_head`, routers), the embedding not among them.
        recipe: how it was made, in the grammar of recipes; empty where nobody said.
    """

    schemes: Mapping[str, Scheme]
    shapes: Mapping[str, tuple[int, ...]]
    plain: Sequence[str]
    recipe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A file layout of quantized matrices.

    Attributes:
        name: as `--to` takes it.
        summary: which codes it carries and who loads it, for a person.
        refusal: (scheme, rows, columns) → why it cannot carry such a matrix, None where it can.
        pack: codes → what to store. Raises: BadRequest where these codes in particular do not go.
        configuration: inventory → `quantization_config`, ready for JSON.
        modules: (stored tensors, `quantization_config`) → the quantized modules among them. Raises: FormatError,
            UnsupportedModel.
        source: where the layout is defined.
        second_configuration: a file that repeats `quantization_config`, for loaders that look there.
    """

    name: str
    summary: str
    refusal: Refusal
    pack: Pack
    configuration: Callable[[Inventory], dict[str, Any]]
    modules: Callable[[Mapping[str, StoredTensor], Mapping[str, Any]], list[PackedModule]]
    source: str
    second_configuration: str | None = None


def only_scheme(inventory: Inventory) -> Scheme:
    """The scheme of every module. Raises: BadRequest where there are several: the file has one for all."""
    schemes = set(inventory.schemes.values())
    if len(schemes) != 1:
        labels = ", ".join(sorted(scheme.label for scheme in schemes)) or "none"
        raise BadRequest(
            f"this layout has one scheme for the whole model, got {labels}; compressed-tensors has several"
        )
    return schemes.pop()


def packed(suffix: str, array: NDArray[Any], format: BlockFormat | None = None) -> PackedTensor:
    """An array as a stored tensor; `format` where its dtype does not say it (uint8 that are FP8 numbers)."""
    array = np.ascontiguousarray(array)
    format = format or formats.get(_FORMATS[array.dtype.str])
    rows = array.reshape(prod(array.shape[:-1]), array.shape[-1] if array.ndim else 1)
    return PackedTensor(suffix=suffix, shape=array.shape, format=format, data=rows.view(np.uint8))


def packed_scale(suffix: str, scale: NDArray[np.float32]) -> PackedTensor:
    """Scales in 16 bits without rounding: F16, else BF16. Raises: BadRequest where neither holds them all."""
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    if np.array_equal(half.astype(np.float32), scale):
        return packed(suffix, half)
    bits = np.ascontiguousarray(scale, np.float32).view(np.uint32)
    if (bits & 0xFFFF).any():
        raise BadRequest("its scales need 32 bits, this layout stores 16; quantize again, rounding the scales first")
    words = (bits >> 16).astype(np.uint16)
    return PackedTensor(suffix=suffix, shape=scale.shape, format=formats.get("BF16"), data=words.view(np.uint8))
