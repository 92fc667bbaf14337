"""The seam that later methods reach through: what enters each linear layer, and what attention sees of its cache.

    def int8(name, expert, x): ...                   quantized activations, by the weight they are about to meet
    def q8_0(block, keys, values): ...               a quantized KV cache, in a model that reads whole chunks
    TorchLogits(checkpoint, settings, Hooks(linear_input=int8, keys_values=q8_0))

Both are called under `torch.inference_mode`, on the device and in the dtype of the computation, in every block, and
return tensors of the shape, device and dtype they were given.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LinearInput = Callable[[str, int | None, "torch.Tensor"], "torch.Tensor"]
"""(canonical name of the weight, expert or None, x of shape (…, in)) → what the layer reads instead of x.

Query, key and value projections are three calls with one x. Gate and up of an expert are one matrix to transformers 5,
so one call, by the name of the gate (`blk.3.ffn_gate_exps.weight`); two matrices to transformers 4, so two calls. An
expert that no token chose is not called.
"""

KeysValues = Callable[[int, "torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]
"""(block, keys after rotation, values), each (chunks, key-value heads, n_ctx, head_length) → what attention sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What to call on the way; None costs nothing."""

    linear_input: LinearInput | None = None
    keys_values: KeysValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """The weights in one parameter.

    Attributes:
        name: canonical.
        expert: whose matrix it is, where a parameter holds one.
        expert_size: numbers of one expert, where a parameter holds all of them; 0 where not.
    """

    name: str
    expert: int | None
    expert_size: int


class KeyValueSeam:
    """What a decoder block takes for its cache: called once, after rotation, with what it is about to attend to."""

    def __init__(self, hook: KeysValues) -> None:
        self._hook = hook

    def update(
        self, key_states: "torch.Tensor", value_states: "torch.Tensor", layer_idx: int, *_rest: Any, **_named: Any
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Called by transformers' attention, by these names in version 5, with one more argument in some versions."""
        return self._hook(layer_idx, key_states, value_states)


class GrowingCache:
    """A KV cache of all blocks for reading token by token: what is new passes the hook once and stays as it left it."""

    def __init__(self, hook: KeysValues | None = None) -> None:
        self._hook = hook
        self._held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def update(
        self, key_states: "torch.Tensor", value_states: "torch.Tensor", layer_idx: int, *_rest: Any, **_named: Any
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Called by transformers' attention: (1, key-value heads, new tokens, head_length) → all tokens so far."""
        import torch

        new = self._hook(layer_idx, key_states, value_states) if self._hook else (key_states, value_states)
        if layer_idx in self._held:
            old = self._held[layer_idx]
            new = torch.cat([old[0], new[0]], dim=2), torch.cat([old[1], new[1]], dim=2)
        self._held[layer_idx] = new
        return new


def linear_inputs(
    hook: LinearInput | None, find: Callable[["torch.Tensor"], Linear | None]
) -> AbstractContextManager[Any]:
    """While open, every `torch.nn.functional.linear` whose weight `find` knows reads what `hook` returns.

    Hooks of modules would miss the experts, which transformers 5 multiplies without modules.
    """
    if hook is None:
        return nullcontext()
    from torch.nn.functional import linear
    from torch.overrides import TorchFunctionMode

    class LinearInputs(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is linear and (known := find(args[1])) is not None:
                expert = args[1].storage_offset() // known.expert_size if known.expert_size else known.expert
                args = (hook(known.name, expert, args[0]), *args[1:])
            return func(*args, **(kwargs or {}))

    return LinearInputs()
