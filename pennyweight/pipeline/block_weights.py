"""The tensors of one block as float32 arrays: read when asked for, kept only where something changed them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.core.parallel import each_in_threads
from pennyweight.runtimes.torch_reference.fill import transformers_order

if TYPE_CHECKING:
    import torch

_SLAB_ROWS = 1024


class BlockWeights:
    """Tensors by their name within a block (`attn_q.weight`)."""

    def __init__(
        self,
        tensors: Mapping[str, LazyTensor],
        block: int,
        device: "torch.device",
        threads: int,
        head_length: Callable[[str], int | None] = lambda name: None,
    ) -> None:
        """`head_length` of a canonical name, where the rows of its heads are wanted in transformers' order."""
        self._head_length = head_length
        prefix = f"blk.{block}."
        self.block, self.prefix, self.device, self._threads = block, prefix, device, threads
        self._tensors = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        self.changed: dict[str, torch.Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> tuple[str, ...]:
        """All of them, in the checkpoint's order."""
        return tuple(self._tensors)

    def shape(self, name: str) -> tuple[int, int, int]:
        """Matrices (experts, else 1), rows (1 of a vector), columns."""
        shape = self._tensors[name].shape
        return (1,) * (3 - len(shape)) + shape  # type: ignore[return-value]

    def get(self, name: str) -> "torch.Tensor":
        """float32 (matrices, rows, columns) on the device; not to be written to."""
        return self.changed[name] if name in self.changed else self._read(name)

    def change(self, name: str, values: "torch.Tensor") -> None:
        """Keep other values, of the same shape."""
        self.changed[name] = values

    def _read(self, name: str) -> "torch.Tensor":
        import torch

        tensor = self._tensors[name]
        found = torch.empty((tensor.rows, tensor.columns), dtype=torch.float32)

        def read(start: int) -> None:
            stop = min(start + _SLAB_ROWS, tensor.rows)
            found[start:stop] = torch.from_numpy(tensor.read_rows(start, stop))

        each_in_threads(read, range(0, tensor.rows, _SLAB_ROWS), self._threads)
        if head_length := self._head_length(tensor.name):
            found = torch.from_numpy(transformers_order(found.numpy(), head_length))
        return found.reshape(self.shape(name)).to(self.device)
