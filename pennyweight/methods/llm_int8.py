"""LLM.int8(): int8 weights by row and activations by token, with the few large input channels kept in 16 bits.

    O = {k : some |x[t, k]| ≥ threshold}
    y = (round(127 x / s_x) · codesᵀ) · s_x · s_w / 127²  over k ∉ O   +   x[:, O] · W[:, O]ᵀ

s_x is the largest |x| of the token below the threshold, s_w the largest |w| of the row. The outlier columns of W are
the decoded int8 ones, as in bitsandbytes' inference (`has_fp16_weights=False`): the weights' own error stays. Because
both terms multiply the same decoded W, the whole is one rounding of x: `mixed_activations`.

Source: Dettmers et al., LLM.int8() (arXiv 2208.07339); bitsandbytes backends/default/ops.py `int8_mixed_scaled_mm`.
One deviation: the scale s_w / 127 is a float16 number, as `IntegerCodes` has it; bitsandbytes keeps s_w in float32.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.core.errors import BadRequest
from pennyweight.formats.codes import IntegerCodes
from pennyweight.formats.grid import Grid, Parameters
from pennyweight.methods.activations import INT8_TOP, scale_of
from pennyweight.methods.quantized import Quantized, check_weight, name_of, packed
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmInt8Config:
    """Attributes:
    threshold: |x| from which an input channel is an outlier; 0 for none (plain vector-wise int8).
    """

    threshold: float = 6.0


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, grid: Grid, config: LlmInt8Config = LlmInt8Config()
) -> Quantized:
    """Codes 1..255 about the zero point 128, one scale per row, on the grid `INT8`. Raises: BadRequest for another."""
    del config  # it says how activations are split, at run time
    if grid.name != "INT8":
        raise BadRequest(f"llm.int8 rounds to INT8, one scale per row, got {grid.name}")
    check_weight(weight, name_of(statistics))
    array = weight.detach().float().cpu().numpy()
    largest = np.abs(array).max(axis=1, keepdims=True)
    step = np.minimum(largest / np.float32(INT8_TOP), np.float32(65504)).astype(np.float16).astype(np.float32)
    parameters = Parameters(step=step, zero=np.full_like(step, 128), minimum=np.zeros_like(step))
    return packed(grid, np.maximum(grid.round(array, parameters), 1), parameters, weight)


def outlier_columns(x: "torch.Tensor", threshold: float) -> "torch.Tensor":
    """Which input channels hold a number of magnitude `threshold` or more, bool (columns,)."""
    import torch

    if threshold <= 0:
        return torch.zeros(x.shape[-1], dtype=torch.bool, device=x.device)
    return (x.abs() >= threshold).reshape(-1, x.shape[-1]).any(0)


def mixed_activations(x: "torch.Tensor", threshold: float = 6.0) -> "torch.Tensor":
    """x (…, columns) as the layer sees it: outlier channels as they are, the rest rounded to int8 token by token."""
    import torch

    outlier = outlier_columns(x, threshold)
    codes, scale = _round_tokens(x, outlier, threshold)
    return torch.where(outlier, x, (codes * (scale / INT8_TOP)).to(x.dtype))


def matmul(x: "torch.Tensor", codes: IntegerCodes, threshold: float = 6.0) -> "torch.Tensor":
    """y (tokens, rows) of x (tokens, columns), with the integer products summed exactly, in float64."""
    import torch

    outlier = outlier_columns(x, threshold)
    rounded, scale = _round_tokens(x, outlier, threshold)
    weight = torch.from_numpy(codes.codes.astype(np.float64) - 128.0).to(x.device)
    step = torch.from_numpy(codes.scale[:, 0].astype(np.float64)).to(x.device)
    whole = rounded.double() @ weight.T * (scale.double() / INT8_TOP)
    apart = x[:, outlier].double() @ weight[:, outlier].T
    return ((whole + apart) * step).to(x.dtype)


def _round_tokens(x: "torch.Tensor", outlier: "torch.Tensor", threshold: float) -> "tuple[torch.Tensor, torch.Tensor]":
    """Whole numbers −127..127, zero in outlier columns, and the largest magnitude below the threshold by token."""
    import torch

    values = x.float()
    # Elements, not columns, are left out of the scale: those of an outlier column that are small still count.
    inside = torch.where(values.abs() < threshold, values, 0.0) if threshold > 0 else values
    scale = scale_of(inside.abs().amax(-1, keepdim=True), 1.0)
    codes = (inside * (INT8_TOP / scale)).round()
    return torch.where(outlier, 0.0, codes), scale
