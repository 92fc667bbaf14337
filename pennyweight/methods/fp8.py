"""FP8: E4M3 weights with a scale per row or per matrix; activations scaled token by token, or once for all.

Source: compressed-tensors `float-quantized`; a static input scale is max|x| / 448 over calibration tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest
from pennyweight.formats.codes import Float8Codes
from pennyweight.formats.grid import Grid
from pennyweight.methods import rtn
from pennyweight.methods.activations import FP8_TOP
from pennyweight.methods.quantized import Quantized, check_statistics
from pennyweight.methods.statistics import Statistics

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Config:
    """Attributes:
    static_input: store one activation scale for the layer; else a runtime finds one for each token.
    """

    static_input: bool = False


def quantize_weight(
    weight: "torch.Tensor", statistics: Statistics | None, grid: Grid, config: Fp8Config = Fp8Config()
) -> Quantized:
    """Round to `FP8_E4M3` or `FP8_E4M3_TENSOR`. Raises: BadRequest for another grid, or static without statistics."""
    if not grid.name.startswith("FP8"):
        raise BadRequest(f"fp8 rounds to FP8_E4M3 or FP8_E4M3_TENSOR, got {grid.name}; use rtn or gptq for it")
    result = rtn.quantize_weight(weight, statistics, grid)
    if not config.static_input:
        return result
    seen = check_statistics(weight, statistics, "fp8 with static inputs")
    assert isinstance(result.codes, Float8Codes)
    scale = float(seen.absolute_maximum.max()) / FP8_TOP
    return replace(result, codes=replace(result.codes, input_scale=scale or 1.0))


def with_one_input_scale(name: str, experts: Sequence[Float8Codes]) -> tuple[Float8Codes, ...]:
    """The same codes with the largest of the experts' input scales, which serves one that saw too few tokens too.

    Runtimes multiply all experts of a layer in one call, and take one scale for it. One matrix is its own largest.

    Source: vLLM `CompressedTensorsW8A8Fp8MoEMethod.process_weights_after_loading` (`w13_input_scale.max()`).
    Raises: BadRequest where no expert saw any token.
    """
    scales = [codes.input_scale for codes in experts if codes.input_scale is not None]
    if not scales:
        raise BadRequest(
            f"{name}: no calibration token reached it, so its inputs have no scale; take more samples, or fp8"
        )
    return tuple(replace(codes, input_scale=max(scales)) for codes in experts)
