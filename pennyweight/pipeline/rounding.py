"""A recipe, for one matrix: what rounds it on which grid, what that needs to know, and what replaces it if starved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight import kernels
from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.codes import BlockCodes
from pennyweight.formats.grid import PackedCodes
from pennyweight.methods.quantized import Quantized, check_weight, name_of
from pennyweight.methods.statistics import Statistics, importance
from pennyweight.recipes.grammar import Recipe

if TYPE_CHECKING:
    import torch

Round = Callable[["torch.Tensor", Statistics | None], Quantized]
"""(float32 (rows, columns), statistics or None) → codes and the weights they decode to."""

_SLAB_WEIGHTS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How a matrix is rounded.

    Attributes:
        method: its name, for reports.
        round: the method.
        needs_statistics, needs_hessian: what of a layer's input it wants to know.
        starved: what rounds a matrix whose statistics are too few, by `starved_method`.
    """

    method: str
    round: Round
    needs_statistics: bool = False
    needs_hessian: bool = False
    starved: Round
    starved_method: str = "rtn"


def gguf_rounding(recipe: Recipe, format: BlockFormat, threads: int | None = None) -> Rounding:
    """How a matrix becomes `format` of a GGUF."""

    def encode(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return _encoded(weight, statistics, format, threads or default_threads())

    def plain(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return encode(weight, None)

    if recipe.method == "imatrix":
        return Rounding(method="imatrix", round=encode, needs_statistics=True, starved=plain)
    return Rounding(method="rtn", round=plain, starved=plain)


def decoded(codes: PackedCodes) -> NDArray[np.float32]:
    """The weights that codes stand for, float32 (rows, columns); a GGUF format's by the fast kernels."""
    return kernels.decode(codes.format, codes.data) if isinstance(codes, BlockCodes) else codes.decode()


def _encoded(weight: "torch.Tensor", statistics: Statistics | None, format: BlockFormat, threads: int) -> Quantized:
    """The bytes of `kernels.encode`: what llama-quantize writes, with importance where there are statistics."""
    import torch

    check_weight(weight, name_of(statistics))
    rows, weighed = np.ascontiguousarray(weight.detach().float().cpu().numpy()), importance(statistics)
    data = np.empty((len(rows), format.row_bytes(rows.shape[1])), np.uint8)
    decoded = np.empty_like(rows)
    step = max(1, _SLAB_WEIGHTS // rows.shape[1])

    def encode(start: int) -> None:
        part = slice(start, start + step)
        kernels.encode(format, rows[part], weighed, data[part])
        kernels.decode(format, data[part], decoded[part])

    each_in_threads(encode, range(0, len(rows), step), threads)
    return Quantized(codes=BlockCodes(format=format, data=data), weight=torch.from_numpy(decoded).to(weight.device))
