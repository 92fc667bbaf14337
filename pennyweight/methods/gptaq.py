"""GPTAQ: GPTQ towards what the unquantized model puts out, not towards what its own weights make of drifted inputs.

Behind quantized layers a layer's input is x where the unquantized model would have had x̃. GPTQ minimizes |(W − Q) x|²;
here it is |W x̃ − Q x|², so that a layer also takes back what the layers before it did. With Δ = Σ (x̃ − x) xᵀ (drift)
and H = Σ x xᵀ,

    |W x̃ − Q x|² = |(W* − Q) x|² + what no Q changes,     W* = W + W Δ H⁻¹

and GPTQ rounds W*. Of the correction only a part is taken, and H is damped in it: in full it follows the calibration
tokens' noise.

Source: Li et al., GPTAQ (arXiv 2504.02692), equation 4; there a row's targets move column by column (algorithm 1), here
all at once, before rounding: the same minimum. The part of 1/4 is GPTQModel's default `gptaq.alpha`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest
from pennyweight.formats.grid import Grid
from pennyweight.methods import gptq
from pennyweight.methods.factor import decompose
from pennyweight.methods.gptq import GptqConfig
from pennyweight.methods.quantized import Quantized, check_statistics, check_weight, name_of
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class GptaqConfig(GptqConfig):
    """GPTQ's, whose damping holds for the correction too, and one more.

    Attributes:
        part: of the correction that is taken, 0 to 1; 0 is GPTQ.
    """

    part: float = 0.5


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, grid: Grid, config: GptaqConfig = GptaqConfig()
) -> Quantized:
    """Round float32 (rows, columns) to `grid`, with error feedback towards the unquantized model's outputs.

    Raises: BadRequest without a Hessian, drift, or with a part outside 0 to 1; else as `gptq.quantize_weight`.
    """
    check_weight(weight, name_of(statistics))
    seen = check_statistics(weight, statistics, "gptaq")
    return gptq.quantize_weight(target(weight, seen, config), seen, grid, config)


def target(weight: "torch.Tensor", statistics: Statistics, config: GptaqConfig = GptaqConfig()) -> "torch.Tensor":
    """W* = W + part · W Δ (H + λ I)⁻¹, float32 (rows, columns).

    Raises: BadRequest, BadWeights.
    """
    import torch

    if statistics.hessian is None or statistics.drift is None:
        raise BadRequest(f"{statistics.name}: gptaq needs the Hessian and the drift of inputs, but these lack one")
    if not 0 <= config.part <= 1:
        raise BadRequest(f"gptaq: part is between 0 and 1, got {config.part:g}")
    weight = weight.detach().float()
    dead = statistics.hessian.diagonal() == 0
    lower, _ = decompose(statistics.hessian.clone(), dead, config.damp, statistics.name)
    moved = torch.cholesky_solve((weight @ statistics.drift).T, lower).T
    return torch.add(weight, moved, alpha=config.part).contiguous()
