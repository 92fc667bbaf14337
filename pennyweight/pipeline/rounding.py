"""A recipe, for one matrix: what rounds it on which grid, what that needs to know, and what replaces it if starved."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pennyweight import kernels
from pennyweight.core.parallel import default_threads, each_in_threads
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.codes import BlockCodes
from pennyweight.formats.grid import Grid, PackedCodes
from pennyweight.kernels import grids
from pennyweight.methods import fp8, gptaq, gptq, llm_int8, rtn, spqr, spqr_dense
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of, packed
from pennyweight.methods.statistics import Statistics, importance, nothing_seen
from pennyweight.recipes.grammar import FEEDBACK, Recipe
from pennyweight.transforms import awq_clip

if TYPE_CHECKING:
    import torch

Round = Callable[["torch.Tensor", Statistics | None], Quantized]
"""(float32 (rows, columns), statistics or None) → codes and the weights they decode to."""

MORE_DAMP = 0.1
"""Ten times the usual: with fewer tokens than columns the Hessian has directions that were never seen, and what error
feedback, or a search for ranges, does along them is noise."""

_SLAB_WEIGHTS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How a matrix is rounded.

    Attributes:
        method: its name, for reports.
        grid: what it is rounded to, for a transform's search; None for a method with a grid of its own.
        round: the method.
        needs_statistics, needs_hessian, needs_drift: what of a layer's input it wants to know.
        starved: what rounds a matrix whose statistics are too few, by `starved_method`.
    """

    method: str
    grid: Grid | None
    round: Round
    needs_statistics: bool = False
    needs_hessian: bool = False
    needs_drift: bool = False
    starved: Round
    starved_method: str = "rtn"


def gguf_rounding(recipe: Recipe, format: BlockFormat, threads: int | None = None) -> Rounding:
    """How a matrix becomes `format` of a GGUF."""
    grid = grids.get(format.name)

    def encode(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return _encoded(weight, statistics, format, threads or default_threads())

    def plain(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return encode(weight, None)

    if recipe.method in FEEDBACK:
        return _feedback(recipe.method, grid, starved=plain)
    if recipe.method == "imatrix":
        return Rounding(method="imatrix", grid=grid, round=encode, needs_statistics=True, starved=plain)
    return Rounding(method="rtn", grid=grid, round=plain, starved=plain)


def directory_rounding(recipe: Recipe) -> Rounding:
    """How every matrix is rounded for a checkpoint directory."""
    if recipe.method == "llm_int8":
        return _plain("llm_int8", grids.get("INT8"), llm_int8.quantize_weight)
    if recipe.static_inputs:
        return _fp8_static()
    if recipe.method == "fp8":
        return _plain("fp8", grids.get("FP8_E4M3"), fp8.quantize_weight)
    if recipe.method == "spqr":
        return _spqr(recipe.budget)
    assert recipe.integer is not None
    grid = grids.get(recipe.integer.grid)
    if recipe.method in FEEDBACK:
        return _feedback(recipe.method, grid, starved=_nearest(grid))
    if "awq" in recipe.transforms:
        return Rounding(
            method="rtn",
            grid=grid,
            round=_clipped(grid),
            needs_statistics=True,
            needs_hessian=True,
            starved=_nearest(grid),
        )
    return _plain("rtn", grid, rtn.quantize_weight)


def _fp8_static() -> Rounding:
    grid = grids.get("FP8_E4M3")

    def round(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return fp8.quantize_weight(weight, statistics, grid, fp8.Fp8Config(static_input=True))

    def starved(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return fp8.quantize_weight(weight, None, grid)

    return Rounding(
        method="fp8",
        grid=grid,
        round=round,
        needs_statistics=True,
        starved=starved,
        starved_method="fp8 with the other experts' input scale",
    )


def _plain(
    method: str, grid: Grid, quantize: Callable[["torch.Tensor", Statistics | None, Grid], Quantized]
) -> Rounding:
    def round(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        return quantize(weight, None, grid)

    return Rounding(method=method, grid=grid, round=round, starved=round)


def _nearest(grid: Grid) -> Round:
    return lambda weight, statistics: rtn.quantize_weight(weight, None, grid)


def _clipped(grid: Grid) -> Round:
    """Round-to-nearest on the ranges that AWQ's clip search finds."""

    def round(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        check_weight(weight, name_of(statistics))
        seen = check_statistics(weight, statistics, "awq")
        assert seen.hessian is not None
        hessian, damp = seen.hessian / seen.tokens, MORE_DAMP if seen.tokens < seen.columns else 0.0
        hessian.diagonal().add_(damp * hessian.diagonal().mean())
        parameters = awq_clip.clip(weight, hessian, grid)
        codes = grid.round(np.ascontiguousarray(weight.detach().float().cpu().numpy()), parameters)
        return packed(grid, codes, parameters, weight, damp=damp)

    return round


def decoded(codes: PackedCodes) -> NDArray[np.float32]:
    """The weights that codes stand for, float32 (rows, columns); a GGUF format's by the fast kernels."""
    return kernels.decode(codes.format, codes.data) if isinstance(codes, BlockCodes) else codes.decode()


def _spqr(budget: float | None) -> Rounding:
    def round(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        if budget is None:
            return spqr.quantize_weight(weight, statistics)
        few = statistics is not None and statistics.tokens < statistics.columns
        damp = MORE_DAMP if few else spqr_dense.SpqrDenseConfig().damp
        group = spqr_dense.group_for(budget)
        config = spqr_dense.SpqrDenseConfig(bits=budget, group_size=group, damp=damp)
        return spqr_dense.quantize_weight(weight, statistics, config)

    def starved(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        """Every column as important as every other: SpQR's grid and outliers, without feedback."""
        import torch

        columns = weight.shape[1]
        one = torch.ones(columns, device=weight.device)
        even = replace(nothing_seen("weight", columns, weight.device), tokens=1, hessian=torch.diag(one))
        return round(weight, even)

    return Rounding(
        method="spqr",
        grid=None,
        round=round,
        needs_statistics=True,
        needs_hessian=True,
        starved=starved,
        starved_method="spqr without statistics",
    )


def _feedback(method: str, grid: Grid, starved: Round) -> Rounding:
    def round(weight: "torch.Tensor", statistics: Statistics | None) -> Quantized:
        few = statistics is not None and statistics.tokens < statistics.columns
        config = gptq.GptqConfig(damp=MORE_DAMP) if few else gptq.GptqConfig()
        if method == "gptaq" and statistics is not None and statistics.drift is not None:
            return gptaq.quantize_weight(weight, statistics, grid, gptaq.GptaqConfig(damp=config.damp))
        return gptq.quantize_weight(weight, statistics, grid, config)  # experts have no drift: reported by the walk

    return Rounding(
        method=method,
        grid=grid,
        round=round,
        needs_statistics=True,
        needs_hessian=True,
        needs_drift=method == "gptaq",
        starved=starved,
    )


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
