"""A config → the tensors its GGUF has: names, shapes, and what is always F32; from the tables in `families`."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pennyweight.models.families import OUTPUT, TensorRule

if TYPE_CHECKING:
    from pennyweight.models.config import ModelConfig

ROPE_FREQUENCIES = "rope_freqs.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """A tensor that no file holds yet.

    Attributes:
        name: GGUF's.
        shape: NumPy order (slowest first; the last axis is the row).
        format: F32 for what llama.cpp always keeps in F32 (vectors, routers), else the unquantized format of matrices.
    """

    name: str
    shape: tuple[int, ...]
    format: str

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def planned_tensors(config: "ModelConfig", matrix_format: str = "F16") -> tuple[PlannedTensor, ...]:
    """Every tensor of a model, those of no block first, then block by block.

    Optional biases, which no config.json of these families asks for unless it says so, are left out; the output is
    left out where it is tied. Llama 3's frequency factors are a tensor of their own, as its converter makes them.
    """
    found = [_planned(rule, block, config, matrix_format) for rule, block in rules(config) if _is_there(rule, config)]
    if config.rope.kind == "llama3":
        found.insert(0, PlannedTensor(name=ROPE_FREQUENCIES, shape=(config.head_length // 2,), format="F32"))
    return tuple(found)


def kept_in_float32(name: str, shape: tuple[int, ...]) -> bool:
    """Whether llama.cpp's converter writes a tensor as F32 whatever the matrices become.

    Source: llama.cpp b11549 conversion/base.py `prepare_tensors`.
    """
    bare = len(shape) == 1 or not name.endswith(".weight")
    return bare or name.endswith(("_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight"))


def rules(config: "ModelConfig") -> Iterator[tuple[TensorRule, int]]:
    """Rules of tensors outside the blocks, then of each block in turn, with the block's number (0 stands for none)."""
    in_blocks = [rule for rule in config.family.tensors if "{block}" in rule.name]
    yield from ((rule, 0) for rule in config.family.tensors if "{block}" not in rule.name)
    yield from ((rule, block) for block in range(config.block_count) for rule in in_blocks)


def _is_there(rule: TensorRule, config: "ModelConfig") -> bool:
    return not config.tied if rule.name == OUTPUT else not rule.optional


def _planned(rule: TensorRule, block: int, config: "ModelConfig", matrix_format: str) -> PlannedTensor:
    shape = tuple(config.dimension(dimension) for dimension in rule.shape)
    kept = len(shape) == 1 or rule.float32
    return PlannedTensor(name=rule.name.format(block=block), shape=shape, format="F32" if kept else matrix_format)
