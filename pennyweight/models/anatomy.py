"""A model as the planner sees it: every tensor by name and shape, and what each decoder block keeps of a token.

No weights and no tokenizer are needed. `planner.resolve` makes one from a catalogue name, a config.json, or the header
of a GGUF or safetensors file.
"""

from dataclasses import dataclass
from enum import Enum

from pennyweight.models.shape import ModelShape
from pennyweight.models.tensors import PlannedTensor


class Keeps(Enum):
    """What a decoder block keeps between tokens."""

    EVERY_TOKEN = "full attention"
    WINDOW = "sliding window"
    LATENT = "latent attention"  # MLA: one compressed vector of a token, for all heads
    STATE = "recurrent state"  # of constant size, per sequence
    NOTHING = "nothing"  # a block without a mixer of tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One decoder block's memory of what it has read.

    Attributes:
        keeps: which kind.
        key_width, value_width: numbers of one token in the cache (key-value heads × head length; of latent attention
            the compressed width with its rotary part, and 0).
        window: tokens that a sliding window sees; 0 elsewhere.
        state_numbers: float32 numbers of recurrent state for one sequence; 0 elsewhere.
    """

    keeps: Keeps
    key_width: int = 0
    value_width: int = 0
    window: int = 0
    state_numbers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A model without its weights.

    Attributes:
        name: as people write it (`Qwen3-8B`).
        repository: where it is published, `user/repo`; empty where that is not known.
        source: what it was read from, in words: `catalogue`, `config.json of …`, `GGUF header of …`.
        known: the architecture's tensors and cache are modelled exactly; where False, numbers are bounds and say so.
        shape: counts, as file-type rules need them.
        tensors: every tensor, canonical names; `format` is F32 or F16/BF16 in a plan from shapes, and what is stored
            where an existing file was read.
        file_type: the type an existing quantized file has; None where any type can still be made.
        blocks: `shape.block_count` of them.
        notes: what a person should know: a vision projector or draft head that is not counted, a cache that is a bound.
        rope_scaling: how positions are stretched already, in words (`yarn ×4 from 32768 tokens`), or empty.
        least: where only bounds are known, the smallest that it can be, this being the largest; else None.
    """

    name: str
    repository: str
    source: str
    known: bool
    shape: ModelShape
    tensors: tuple[PlannedTensor, ...]
    file_type: str | None
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    rope_scaling: str = ""
    least: "Anatomy | None" = None
