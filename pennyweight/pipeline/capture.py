"""Statistics of what enters a block's linear layers: chunks through the block, inputs seen by the engine's hook.

Inputs of a batch are added to the sums when the batch has gone through, so that a batch repeated after the GPU ran out
of memory counts once. A group whose members share an input (query, key, value) is seen once; where nothing behind a
layer is wanted, the block's computation stops there.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from pennyweight.core.errors import DoesNotFit
from pennyweight.core.progress import Advance
from pennyweight.methods.statistics import Statistics, accumulate, nothing_seen
from pennyweight.pipeline.hidden import Hidden
from pennyweight.runtimes.torch_reference.decoder import Decoder

if TYPE_CHECKING:
    import torch

Layer = tuple[str, int | None]
"""Canonical name of a weight, and its expert or None."""

_Inputs = list[tuple[Layer, "torch.Tensor"]]
Out = TypeVar("Out")


class _Enough(Exception):
    pass


class Capture:
    """The engine's `linear_input` hook: lets everything through, and keeps the inputs of the layers that are wanted."""

    def __init__(self) -> None:
        self._wanted, self._last = frozenset[str](), None
        self._kept: list[tuple[Layer, torch.Tensor]] = []

    def __call__(self, name: str, expert: int | None, x: "torch.Tensor") -> "torch.Tensor":
        """Called by the engine in front of every product with a weight."""
        if name in self._wanted:
            self._kept.append(((name, expert), x))
            if name == self._last:
                raise _Enough
        return x

    def inputs(self, names: Iterable[str], last: str | None, compute: Callable[[], object]) -> _Inputs:
        """Run `compute` and return what entered the layers `names`; it may stop after `last`."""
        self._wanted, self._last, self._kept = frozenset(names), last, []
        try:
            compute()
        except _Enough:
            pass
        finally:
            self._wanted, kept, self._kept = frozenset(), self._kept, []
        return kept


class BlockRunner:
    """Runs calibration chunks through one block at a time, a batch at once; the batch halves when a GPU is full."""

    def __init__(
        self, decoder: Decoder, capture: Capture, hidden: Hidden, device: "torch.device", abreast: int
    ) -> None:
        self.decoder, self._capture, self._hidden = decoder, capture, hidden
        self._device, self.abreast, self._halved = device, abreast, False

    @property
    def chunks(self) -> int:
        """How many chunks are carried."""
        return self._hidden.count

    def embed(self, tokens: "torch.Tensor") -> None:
        """Fill what is carried with the embeddings of int64 (chunks, length)."""
        for start in range(0, len(tokens), self.abreast):
            part = tokens[start : start + self.abreast].to(self._device)
            self._hidden.put(start, self.decoder.embed(part))

    def statistics(
        self,
        stage: str,
        layers: Iterable[tuple[str, int]],
        *,
        hessian: bool,
        may_stop: bool,
        advance: Advance,
        unquantized: "BlockRunner | None" = None,
    ) -> dict[Layer, Statistics]:
        """Sums over all chunks of what enters `layers`.

        Args:
            layers: (name, columns), in the order of computation.
            hessian: whether Σ x xᵀ is wanted.
            may_stop: nothing behind the last layer's first call is wanted (so: no layer of experts).
            unquantized: carries the same chunks through the unquantized model, where drift is wanted. Experts have
                none: a token may go to others there.

        Raises: BadWeights for inputs that are not finite; names the layer.
        """
        columns, found = dict(layers), dict[Layer, Statistics]()
        last = list(columns)[-1] if may_stop else None

        def seen(start: int, x: "torch.Tensor") -> "tuple[_Inputs, dict[Layer, torch.Tensor]]":
            full = dict(unquantized.inputs(stage, columns, last, start, len(x))) if unquantized else {}
            return self._inputs(stage, columns, last, x), full

        def add(start: int, inputs: "tuple[_Inputs, dict[Layer, torch.Tensor]]") -> None:
            for layer, values in inputs[0]:
                full = inputs[1].get(layer) if layer[1] is None else None
                if layer not in found:
                    found[layer] = nothing_seen(
                        _shown(layer), columns[layer[0]], self._device, hessian=hessian, drift=full is not None
                    )
                found[layer] = accumulate(found[layer], values, full)
            advance(min(self.abreast, self.chunks - start))

        self._over_batches(seen, add)
        return found

    def propagate(self, stage: str, advance: Advance) -> None:
        """Carry every chunk through the block, as its weights now are."""

        def keep(start: int, out: "torch.Tensor") -> None:
            self._hidden.put(start, out)
            advance(len(out))

        self._over_batches(lambda start, x: self.decoder.block(stage, x), keep)

    def inputs(self, stage: str, names: Iterable[str], last: str | None, start: int, count: int) -> _Inputs:
        """What enters the layers `names` when chunks start … start + count − 1 go through the block."""
        return self._inputs(stage, names, last, self._hidden.get(start, start + count).to(self._device))

    def _inputs(self, stage: str, names: Iterable[str], last: str | None, x: "torch.Tensor") -> _Inputs:
        return self._capture.inputs(names, last, lambda: self.decoder.block(stage, x))

    def _over_batches(self, compute: "Callable[[int, torch.Tensor], Out]", use: "Callable[[int, Out], None]") -> None:
        """`use` what `compute` makes of every batch; only `compute` is repeated when memory is short."""
        start = 0
        while start < self._hidden.count:
            x = self._hidden.get(start, min(start + self.abreast, self._hidden.count))
            out = self._computed(compute, start, x)
            if out is not None:
                use(start, out)
                start += len(x)

    def _computed(self, compute: "Callable[[int, torch.Tensor], Out]", start: int, x: "torch.Tensor") -> "Out | None":
        """The result, or None after halving the batch, once. Raises: DoesNotFit."""
        import torch

        try:
            return compute(start, x.to(self._device))
        except torch.OutOfMemoryError as error:
            if self._halved or self.abreast == 1:
                raise DoesNotFit(
                    f"{self._device} is out of memory with {self.abreast} chunk(s) at once; take shorter samples, "
                    "or --device cpu"
                ) from error
            self._halved, self.abreast = True, self.abreast // 2
        torch.cuda.empty_cache()  # outside `except`, whose traceback still holds the batch
        return None


def _shown(layer: Layer) -> str:
    name, expert = layer
    return name if expert is None else f"{name} (expert {expert})"
