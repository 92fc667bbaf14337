"""Checkpoints whose runtimes round what enters a layer, as a hook of the torch engine.

A kernel multiplies small numbers and then their scales; multiplying what they stand for with the decoded weights is
the same sum in another order. Only quantized layers are rounded: embedding, routers and output stay as they are.
With static scales every expert has its own, as stored.
"""

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from pennyweight.checkpoints.activations import Inputs
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.core.errors import FormatError
from pennyweight.methods.activations import fp8_per_token, fp8_static, int8_per_token
from pennyweight.methods.llm_int8 import mixed_activations
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.runtimes.torch_reference.hooks import Hooks, LinearInput

if TYPE_CHECKING:
    import torch


def activation_hooks(checkpoint: Checkpoint) -> Hooks:
    """What the torch engine does to the inputs of this checkpoint's layers; nothing where they stay as they are."""
    stated = checkpoint.inputs
    if stated is None or stated.kind is Inputs.OTHER:
        return Hooks()
    if stated.kind is Inputs.FP8_STATIC:
        return Hooks(linear_input=_static(checkpoint))
    llm_int8 = partial(mixed_activations, threshold=stated.threshold)
    rounded = {Inputs.INT8: int8_per_token, Inputs.FP8: fp8_per_token, Inputs.LLM_INT8: llm_int8}[stated.kind]
    quantized = {tensor.name for tensor in checkpoint.tensors if tensor.format not in UNQUANTIZED}

    def enter(name: str, expert: int | None, x: "torch.Tensor") -> "torch.Tensor":
        return rounded(x) if name in quantized else x

    return Hooks(linear_input=enter)


def _static(checkpoint: Checkpoint) -> LinearInput:
    """Raises: FormatError for a quantized layer without a scale, or with one that divides by nothing."""
    scales = dict[str, tuple[float, ...]]()
    for tensor in checkpoint.tensors:
        if tensor.format in UNQUANTIZED:
            continue
        scales[tensor.name] = tensor.input_scales() if tensor.input_scales else ()
        if not scales[tensor.name] or not all(0 < scale < inf for scale in scales[tensor.name]):
            raise FormatError(
                f"{checkpoint.source}: {tensor.name} has input scales {scales[tensor.name]}; its configuration has "
                "static activations, which want positive numbers"
            )

    def enter(name: str, expert: int | None, x: "torch.Tensor") -> "torch.Tensor":
        return fp8_static(x, scales[name][expert or 0]) if name in scales else x

    return enter
