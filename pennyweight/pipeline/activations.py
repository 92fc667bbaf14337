"""Recipes that round what enters a layer, as a hook of the torch engine.

A kernel multiplies small numbers and then their scales; multiplying what they stand for with the decoded weights is
the same sum in another order. Only layers of the blocks are rounded: embedding and output stay as they are.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pennyweight.methods.activations import fp8_per_token, int8_per_token
from pennyweight.methods.llm_int8 import mixed_activations
from pennyweight.recipes.grammar import Recipe
from pennyweight.runtimes.torch_reference.hooks import Hooks

if TYPE_CHECKING:
    import torch


def activation_hooks(recipe: Recipe) -> Hooks:
    """What the torch engine does to a layer's input under `recipe`; nothing where activations stay as they are."""
    rounded = _rounding(recipe)
    if rounded is None:
        return Hooks()

    def enter(name: str, expert: int | None, x: "torch.Tensor") -> "torch.Tensor":
        return rounded(x) if name.startswith("blk.") and "ffn_gate_inp" not in name else x

    return Hooks(linear_input=enter)


def _rounding(recipe: Recipe) -> "Callable[[torch.Tensor], torch.Tensor] | None":
    if recipe.method == "llm_int8":
        return mixed_activations
    if recipe.method == "fp8":
        return fp8_per_token
    return int8_per_token if recipe.integer and recipe.integer.activation_bits else None
