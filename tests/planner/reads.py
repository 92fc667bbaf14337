"""What is read for one token: all of a dense model, of a model with experts only those that the token is routed to.

    a block     what every token uses + used / experts · bytes of the stacked experts
    the output  output.weight, or the token embedding where it is the output too
    nothing     the token embedding otherwise (one row of it), and a draft head that is not run

Source: llama.cpp b11549 src/llama-graph.cpp `build_moe_ffn`, which multiplies by the selected experts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.sizes import SizedTensor

STACKED = "_exps."
"""Part of the name of every tensor that holds one slice for each expert."""

_DRAFT = ".nextn."
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReads:
    """Bytes of one block's weights.

    Attributes:
        always: read for every token: attention or state space, dense feed-forward, shared experts, router, norms.
        routed: read for one token of the stacked experts, on average over the experts (all are of one size).
        experts: bytes of all stacked experts, as they lie in memory.
    """

    always: int
    routed: int
    experts: int

    @property
    def per_token(self) -> int:
        """Bytes read for one token."""
        return self.always + self.routed


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReads:
    """Bytes read from weights for one token.

    Attributes:
        blocks: one for each decoder block; a draft head's are zero.
        output: the output matrix and norm.
    """

    blocks: tuple[BlockReads, ...]
    output: int

    @property
    def per_token(self) -> int:
        """All of it."""
        return self.output + sum(block.per_token for block in self.blocks)


def reads_per_token(anatomy: Anatomy, tensors: Sequence[SizedTensor]) -> TokenReads:
    """What a token reads of these tensors, which are the anatomy's in some file type."""
    drafts = {tensor.block for tensor in tensors if _DRAFT in tensor.name}
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    always, stacked, output = dict[int, int](), dict[int, int](), 0
    for tensor in tensors:
        if tensor.block in drafts:
            continue
        if tensor.block < 0:
            output += tensor.nbytes if tensor.name not in _EMBEDDINGS or (tied and _is_output(tensor)) else 0
        else:
            part = stacked if STACKED in tensor.name else always
            part[tensor.block] = part.get(tensor.block, 0) + tensor.nbytes
    share = routed_share(anatomy)
    numbers = range(anatomy.shape.block_count)
    blocks = tuple(
        BlockReads(always=always.get(i, 0), routed=int(stacked.get(i, 0) * share), experts=stacked.get(i, 0))
        for i in numbers
    )
    return TokenReads(blocks=blocks, output=output)


def routed_share(anatomy: Anatomy) -> Fraction:
    """The part of the stacked experts that one token uses; 1 in a dense model."""
    shape = anatomy.shape
    return Fraction(shape.expert_used_count, shape.expert_count) if shape.expert_count else Fraction(1)


def active_weights(anatomy: Anatomy) -> int:
    """Parameters that one token uses, the token embedding among them (as publishers count)."""
    share = routed_share(anatomy)
    return sum(
        int(prod(t.shape) * (share if STACKED in t.name else 1)) for t in anatomy.tensors if _DRAFT not in t.name
    )


def total_weights(anatomy: Anatomy) -> int:
    """Parameters in all."""
    return sum(tensor.weights for tensor in anatomy.tensors)


def _is_output(tensor: SizedTensor) -> bool:
    return tensor.name == _EMBEDDINGS[0]
