"""Checkpoints whose runtimes round what enters a layer, as a hook of the torch engine.

A kernel multiplies small numbers and then their scales; multiplying what they stand for with the decoded weights is
the same sum in another order. Only quantized layers are rounded: embedding, routers and output stay as they are.
"""

from functools import partial
from typing import TYPE_CHECKING

from pennyweight.checkpoints.activations import Inputs
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.methods.activations import fp8_per_token, int8_per_token
from pennyweight.methods.llm_int8 import mixed_activations
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.runtimes.torch_reference.hooks import Hooks

if TYPE_CHECKING:
    import torch


def activation_hooks(checkpoint: Checkpoint) -> Hooks:
    """What the torch engine does to the inputs of this checkpoint's layers; nothing where they stay as they are."""
    stated = checkpoint.inputs
    if stated is None or stated.kind is Inputs.OTHER:
        return Hooks()
    llm_int8 = partial(mixed_activations, threshold=stated.threshold)
    rounded = {Inputs.INT8: int8_per_token, Inputs.FP8: fp8_per_token, Inputs.LLM_INT8: llm_int8}[stated.kind]
    quantized = {tensor.name for tensor in checkpoint.tensors if tensor.format not in UNQUANTIZED}

    def enter(name: str, expert: int | None, x: "torch.Tensor") -> "torch.Tensor":
        return rounded(x) if name in quantized else x

    return Hooks(linear_input=enter)
