"""The linear layers of a decoder block as tables: in which order they compute, and where scales fold between them.

`groups` share one input, so one set of statistics serves them; calibration walks them in this order, each group seeing
what the groups before it already cost ("true sequential"). A *scale pair* is a place where a channel can be divided on
the way out of one tensor and multiplied on the way into others without changing the function:

    source / s,  target columns · s          (a norm's weight, or rows and bias of a linear layer)

Names are GGUF's, within a block. Source: GPTQ `llama.py` (sequential); AWQ `auto_scale.py` `get_layers_for_scaling`;
llama.cpp src/models/*.cpp for what is multiplied with what.
"""

from dataclasses import dataclass

from pennyweight.core.errors import UnsupportedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePair:
    """One place to fold scales.

    Attributes:
        source: the tensor whose outputs are divided: a norm, or a linear layer (its rows).
        targets: linear layers whose input that is; their columns are multiplied, then rounded.
        followers: tensors that read the same input and are not rounded (a router): multiplied only.
        equal_shapes: foldable only where the source has as many outputs as the targets have inputs (no grouped-query
            attention between them).
    """

    source: str
    targets: tuple[str, ...]
    followers: tuple[str, ...] = ()
    equal_shapes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLinears:
    """The linear layers of one architecture's blocks, and its scale pairs."""

    groups: tuple[tuple[str, ...], ...]
    pairs: tuple[ScalePair, ...]


_ATTENTION = (("attn_q.weight", "attn_k.weight", "attn_v.weight"), ("attn_output.weight",))
_ATTENTION_PAIRS = (
    ScalePair(source="attn_norm.weight", targets=_ATTENTION[0]),
    ScalePair(source="attn_v.weight", targets=("attn_output.weight",), equal_shapes=True),
)
_DENSE = BlockLinears(
    groups=(*_ATTENTION, ("ffn_gate.weight", "ffn_up.weight"), ("ffn_down.weight",)),
    pairs=(
        *_ATTENTION_PAIRS,
        ScalePair(source="ffn_norm.weight", targets=("ffn_gate.weight", "ffn_up.weight")),
        ScalePair(source="ffn_up.weight", targets=("ffn_down.weight",)),
    ),
)
_EXPERTS = BlockLinears(
    groups=(*_ATTENTION, ("ffn_gate_exps.weight", "ffn_up_exps.weight"), ("ffn_down_exps.weight",)),
    pairs=(
        *_ATTENTION_PAIRS,
        ScalePair(
            source="ffn_norm.weight",
            targets=("ffn_gate_exps.weight", "ffn_up_exps.weight"),
            followers=("ffn_gate_inp.weight",),
        ),
        ScalePair(source="ffn_up_exps.weight", targets=("ffn_down_exps.weight",)),
    ),
)

BY_MODEL_TYPE = {
    "llama": _DENSE,
    "mistral": _DENSE,
    "qwen2": _DENSE,
    "qwen3": _DENSE,
    "mixtral": _EXPERTS,
    "qwen3_moe": _EXPERTS,
}
"""transformers' model_type → its table."""


def block_linears(model_type: str) -> BlockLinears:
    """The table of an architecture. Raises: UnsupportedModel, which says what an entry needs."""
    found = BY_MODEL_TYPE.get(model_type)
    if found is None:
        raise UnsupportedModel(
            f"no table of linear layers for {model_type!r}; pennyweight.models.linears.BY_MODEL_TYPE needs its groups "
            "(layers that share an input, in order of computation) and its scale pairs (source, targets, followers)"
        )
    return found
