"""Whether a model is held whole or block by block, and how many chunks are carried through its blocks at once.

    whole        all weights + one group's working set
    blockwise    the largest stage's weights + one group's working set + the carried chunks

A chunk that is carried costs n_ctx · width numbers; a *group* is the chunks computed at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.core.errors import DoesNotFit
from pennyweight.core.units import show_bytes
from pennyweight.models.config import ModelConfig
from pennyweight.runtimes.llama_cpp.settings import physical_memory
from pennyweight.runtimes.torch_reference.settings import TorchSettings

if TYPE_CHECKING:
    import torch

_SHARE = 0.8  # of what is free: the estimates below leave out PyTorch's own buffers and whatever else runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Bytes that a model asks for.

    Attributes:
        weights: all of them.
        largest_stage: of the embedding, one block and the head, the largest.
        group: working set of one group of chunks, activations and logits.
        carried_chunk: one chunk between two blocks.
    """

    weights: int
    largest_stage: int
    group: int
    carried_chunk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How to walk: all weights at once, or block by block with `carried` chunks, a multiple of a group."""

    blockwise: bool
    carried: int


def schedule(needs: Needs, settings: TorchSettings, budget: int) -> Schedule:
    """What fits `budget` bytes; whole where both do, as it computes the first chunk sooner.

    Raises: DoesNotFit where not even one group does, block by block, or whole where `blockwise` is False.
    """
    whole = needs.weights + needs.group
    blockwise = settings.blockwise if settings.blockwise is not None else whole > budget
    if not blockwise:
        _require(whole, budget, "all weights", "; leave blockwise to the engine, or take bfloat16")
        return Schedule(blockwise=False, carried=settings.group)
    group = settings.group * needs.carried_chunk
    fixed = needs.largest_stage + needs.group
    _require(fixed + group, budget, "one block at a time", "; use bfloat16, fewer chunks abreast or a smaller context")
    return Schedule(blockwise=True, carried=settings.group * max(1, (budget - fixed) // group))


def group_bytes(config: ModelConfig, settings: TorchSettings, itemsize: int) -> int:
    """The working set of one group, from above: a block's intermediate results or the logits, whichever is more."""
    tokens = settings.group * settings.n_ctx
    queries, keys = config.dimension("queries"), config.dimension("keys")
    attention = 3 * queries + 4 * keys  # before and after rotation, values, and the result
    width, copies = config.feed_forward_length, 1
    if config.expert_count:
        width, copies = config.expert_feed_forward_length, config.expert_used_count
    feed_forward = copies * (2 * config.embedding_length + 4 * width)  # gate, its activation, up, their product
    residual = 3 * config.embedding_length * itemsize + 2 * config.embedding_length * 4  # norms compute in float32
    block = tokens * (residual + max(attention, feed_forward) * itemsize)
    logits = settings.group * (settings.n_ctx - 1 - settings.n_ctx // 2) * config.vocabulary_size
    return max(block, logits * (itemsize + 4) + tokens * residual)


def memory_budget(settings: TorchSettings, device: "torch.device") -> int:
    """The stated budget, else four fifths of what is free on the device now, bytes."""
    if settings.memory_bytes is not None:
        return settings.memory_bytes
    if device.type == "cuda":
        import torch

        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * min(_free_in_machine(), _free_in_group()))


def _free_in_machine() -> int:
    """MemAvailable where the system has it, else all memory."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return physical_memory()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), physical_memory())


def _free_in_group(directory: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's limit leaves; all memory where there is no limit."""
    try:
        limit, used = (directory / f"memory.{word}" for word in ("max", "current"))
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no cgroup v2, or `max`, which is no number
        return physical_memory()


def _require(wanted: int, budget: int, what: str, advice: str) -> None:
    if wanted > budget:
        raise DoesNotFit(f"the torch engine with {what} takes {show_bytes(wanted)} of {show_bytes(budget)}{advice}")
