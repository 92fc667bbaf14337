"""transformers' model in stages (embedding, decoder blocks, head), whose weights come from a checkpoint and go."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.core.parallel import default_threads
from pennyweight.models.families import Part
from pennyweight.models.tensors import ROPE_FREQUENCIES
from pennyweight.runtimes.torch_reference.fill import fill
from pennyweight.runtimes.torch_reference.hooks import GrowingCache, Hooks, KeyValueSeam, Linear, linear_inputs
from pennyweight.runtimes.torch_reference.model_config import model_config
from pennyweight.runtimes.torch_reference.placement import EMBEDDING, Placement, placements
from pennyweight.runtimes.torch_reference.transformers_model import empty_model, rotary_embedding

if TYPE_CHECKING:
    import torch

_EMBEDDING, _NORM, _OUTPUT = "model.embed_tokens", "model.norm", "lm_head"


class Decoder:
    """A model whose weights are on disk until a stage is loaded.

    Attributes:
        config: `ModelConfig` of the checkpoint.
        device: where it computes.
        stages: names of stages in the order of computation: embedding, `block_count` blocks, head.
        peak_weight_bytes: the most that loaded parameters have taken at once.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: "torch.device", dtype: "torch.dtype", hooks: Hooks, threads: int | None
    ) -> None:
        """Read the header and check every tensor's shape; no weights yet.

        Raises: UnsupportedModel, FormatError (see `model_config` and `placements`).
        """
        tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
        self.config = model_config(checkpoint)
        self.device, self._dtype, self._hooks = device, dtype, hooks
        self._threads = threads or default_threads()
        self._model: Any = empty_model(self.config, tensors, dtype)
        self._shapes = {name: tuple(parameter.shape) for name, parameter in self._model.named_parameters()}
        self._placed = placements(self.config, tensors, self._shapes)
        factors = tensors.get(ROPE_FREQUENCIES)
        self._rotary = rotary_embedding(self._model, factors.read_rows(0, 1)[0] if factors else None).to(device)
        self._linears: dict[int, Linear] = {}
        self._spare: list[torch.Tensor] = []
        self.loaded_weight_bytes = self.peak_weight_bytes = 0
        if hooks.linear_input and hasattr(self._model, "set_experts_implementation"):
            self._model.set_experts_implementation("eager")  # the one that calls `linear` for each expert
        self._blocks = tuple(f"model.layers.{block}" for block in range(self.config.block_count))
        self.stages = (_EMBEDDING, *self._blocks, "head")
        layer = type(self._model.get_submodule(self._blocks[0]))
        # transformers 5.24 renamed it, and warns of the old word.
        self._cache_word = "cache" if "cache" in signature(layer.forward).parameters else "past_key_values"

    def stage_bytes(self, stage: str) -> int:
        """Bytes of a stage's weights when loaded."""
        return sum(prod(self._shapes[name]) * self._dtype.itemsize for name in self._parameters(stage))

    @contextmanager
    def loaded(self, stage: str) -> Iterator[None]:
        """A stage's weights in memory, and out of it again."""
        self.load(stage)
        try:
            yield
        finally:
            self._unload(stage)

    def load(self, stage: str) -> None:
        """Decode a stage's weights from disk; nothing where they are in memory already.

        An output tied to an embedding that is in memory is the same memory.
        """
        import torch

        for name in self._parameters(stage):
            if not self._parameter(name).is_meta:
                continue
            if stage == "head" and self._placed[name][0].name == EMBEDDING and not self._embedding.is_meta:
                self._assign(name, self._embedding)
                continue
            values = self._memory(stage, self._shapes[name])
            fill(values, self._placed[name], self._threads)
            self._assign(name, torch.nn.Parameter(values, requires_grad=False))
            self._linears[values.untyped_storage().data_ptr()] = _linear(self._placed[name], values)
            self.loaded_weight_bytes += values.nbytes
        self.peak_weight_bytes = max(self.peak_weight_bytes, self.loaded_weight_bytes)

    def head_length(self, name: str) -> int | None:
        """Of the heads whose rows a canonical tensor has in llama.cpp's order; None where transformers' is the same."""
        placed = (placement for found in self._placed.values() for placement in found)
        return next((placement.head_length for placement in placed if placement.name == name), None)

    def replace(self, name: str, rows: NDArray[np.float32], *, stored_order: bool = False) -> None:
        """Let a loaded stage compute with other numbers for one tensor, until it is unloaded.

        Args:
            name: canonical, GGUF's.
            rows: float32 (rows, columns) in the order of the checkpoint, all experts on top of each other; a vector is
                one row. For a bias that the checkpoint leaves out, nothing happens.
            stored_order: the rows of heads are in transformers' order instead.
        """
        import torch

        for parameter, placed in self._placed.items():
            values = self._parameter(parameter)
            for placement in placed:
                if placement.name != name or placement.tensor is None or values.is_meta:
                    continue
                tensor = replace(placement.tensor, read_rows=lambda start, stop: rows[start:stop])
                placement = replace(placement, tensor=tensor)
                with torch.no_grad():
                    fill(values, (replace(placement, head_length=None) if stored_order else placement,), self._threads)

    def unload(self) -> None:
        """Every stage out of memory; harmless when repeated."""
        for stage in self.stages:
            self._unload(stage)
        self._spare.clear()

    def embed(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """int64 (chunks, n_ctx) → (chunks, n_ctx, width)."""
        with self._computing():
            return self._model.model.embed_tokens(tokens)

    def block(
        self, stage: str, hidden: "torch.Tensor", cache: GrowingCache | None = None, start: int = 0
    ) -> "torch.Tensor":
        """One decoder block on chunks that each start at position 0: (chunks, n_ctx, width) → the same shape.

        With a `cache` the chunk may start later, where the cache ends: then it is one token long, or `start` is 0.
        """
        import torch

        seam = KeyValueSeam(self._hooks.keys_values) if self._hooks.keys_values and not cache else cache
        with self._computing():
            positions = torch.arange(start, start + hidden.shape[1], device=hidden.device)[None]
            out = self._model.get_submodule(stage)(
                hidden,
                attention_mask=None,  # sdpa then attends causally by itself
                position_ids=positions,
                position_embeddings=self._rotary(hidden, position_ids=positions),
                use_cache=False,
                **{self._cache_word: seam},
            )
        return out[0] if isinstance(out, tuple) else out  # transformers 4 returns a tuple in some families

    def head(self, hidden: "torch.Tensor", scored: slice) -> "torch.Tensor":
        """(chunks, n_ctx, width) → logits of the scored positions, (chunks, scored, vocabulary)."""
        with self._computing():
            return self._model.lm_head(self._model.model.norm(hidden[:, scored]))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        import torch

        with torch.inference_mode(), linear_inputs(self._hooks.linear_input, self._find):
            yield

    def _memory(self, stage: str, shape: tuple[int, ...]) -> "torch.Tensor":
        """Room for a parameter; a block takes over that of the block before.

        Freed and allocated anew, it would not stay constant: 16 blocks of 33 MiB were seen to take 470 MiB, as glibc
        does not always reuse aligned memory that was freed to it.
        """
        import torch

        if stage not in self._blocks:
            self._spare.clear()
        for index, spare in enumerate(self._spare):
            if spare.shape == shape:
                return self._spare.pop(index)
        return torch.empty(shape, dtype=self._dtype, device=self.device)

    def _find(self, weight: "torch.Tensor") -> Linear | None:
        return self._linears.get(weight.untyped_storage().data_ptr())

    def _parameters(self, stage: str) -> list[str]:
        modules = (_NORM, _OUTPUT) if stage == "head" else (stage,)
        return [name for name in self._shapes if name.startswith(tuple(f"{module}." for module in modules))]

    def _unload(self, stage: str) -> None:
        import torch

        for name in self._parameters(stage):
            values = self._parameter(name)
            if values.is_meta:
                continue
            if self._linears.pop(values.untyped_storage().data_ptr(), None):  # a tied output is counted once
                self.loaded_weight_bytes -= values.nbytes
                if stage in self._blocks:
                    self._spare.append(values.detach())
            empty = torch.empty(self._shapes[name], dtype=self._dtype, device="meta")
            self._assign(name, torch.nn.Parameter(empty, requires_grad=False))

    @property
    def _embedding(self) -> "torch.nn.Parameter":
        return self._parameter(f"{_EMBEDDING}.weight")

    def _parameter(self, name: str) -> "torch.nn.Parameter":
        return self._model.get_parameter(name)

    def _assign(self, name: str, values: "torch.nn.Parameter") -> None:
        owner, leaf = name.rsplit(".", 1)
        setattr(self._model.get_submodule(owner), leaf, values)


def _linear(placed: tuple[Placement, ...], values: "torch.Tensor") -> Linear:
    all_experts = values.ndim == 3 or placed[0].part is not Part.ALL
    return Linear(name=placed[0].name, expert=placed[0].expert, expert_size=values[0].numel() if all_experts else 0)
