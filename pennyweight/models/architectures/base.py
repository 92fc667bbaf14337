"""What planning knows of an architecture: how a config.json becomes GGUF keys, its tensors, and what its blocks keep.

The tensor tables speak the language of `models.families`; the names of dimensions are explained in
`models.dimensions`. A rule's `where` lists words that must hold, of the model or of one block:

    untied       the output is not the token embedding        dense, experts     the kind of feed-forward, if any
    attention    the block attends to earlier tokens           state              the block carries a recurrent state

and words of the architecture's own, which its `read` gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from pennyweight.models.families import TensorRule
from pennyweight.models.fields import Fields

Number = int | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a config.json says, in GGUF's words.

    Attributes:
        numbers: GGUF key without the architecture's prefix → a count, or one for each block.
        features: words, as rules ask for them, that hold in the whole model.
        notes: what a person should know.
        file_type: the type that the model is published in, where that is a quantized one; None where any can be made.
        matrix_format, expert_format: what matrices and stacked experts are stored in.
        draft_blocks: of a draft head (MTP), which no plan counts.
    """

    numbers: Mapping[str, Number]
    features: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    file_type: str | None = None
    matrix_format: str = "F16"
    expert_format: str = "F16"
    draft_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Which blocks see a sliding window only, where the file does not say.

    Attributes:
        period: of so many blocks, the last has full attention and the others the window.
        default: tokens of the window where the file does not say; 0 for no window at all then.
    """

    period: int
    default: int = 0


class Hybrid(Enum):
    """How llama.cpp tells the blocks with a recurrent state from those that attend."""

    NO_KEYS = "no key-value heads"
    NO_KEYS_NO_FEED_FORWARD = "neither key-value heads nor a feed-forward; with a feed-forward they keep nothing"
    INTERVAL = "all but every n-th block"
    BOTH = "every block does both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One architecture as llama.cpp stores and runs it.

    Attributes:
        name: GGUF's.
        class_names: what config.json says in `architectures`; none where only its files can be read, not its configs.
        read: config.json → keys and features.
        tensors: every tensor a file has.
        draft: what a block of a draft head has beside an attending block's tensors.
        windows: None where every attending block sees all tokens.
        hybrid: None where every block attends.
        source: where in llama.cpp this was read.
    """

    name: str
    class_names: tuple[str, ...] = ()
    read: Callable[[Fields], Outline] | None = None
    tensors: tuple[TensorRule, ...] = field(default=(), repr=False)
    draft: tuple[TensorRule, ...] = field(default=(), repr=False)
    windows: Windows | None = None
    hybrid: Hybrid | None = None
    source: str = "llama.cpp src/llama-model.cpp create_memory"


def tensor(name: str, *shape: str, where: str = "") -> TensorRule:
    """A tensor of no block; `where` is words with spaces between."""
    return TensorRule(name=name, sources=(), shape=shape, where=frozenset(where.split()))


def layer(name: str, *shape: str, where: str = "") -> TensorRule:
    """A tensor of each block in which `where` holds."""
    return tensor(f"blk.{{block}}.{name}", *shape, where=where)


OUTER = (
    tensor("token_embd.weight", "vocabulary", "hidden"),
    tensor("output_norm.weight", "hidden"),
    tensor("output.weight", "vocabulary", "hidden", where="untied"),
)


def attention(where: str = "") -> tuple[TensorRule, ...]:
    """The four matrices of attention with grouped heads."""
    return (
        layer("attn_q.weight", "queries", "hidden", where=where),
        layer("attn_k.weight", "keys", "hidden", where=where),
        layer("attn_v.weight", "values", "hidden", where=where),
        layer("attn_output.weight", "hidden", "queries", where=where),
    )


def attention_biases(where: str = "") -> tuple[TensorRule, ...]:
    """Biases of queries, keys and values."""
    return (
        layer("attn_q.bias", "queries", where=where),
        layer("attn_k.bias", "keys", where=where),
        layer("attn_v.bias", "values", where=where),
    )


def feed_forward(where: str = "") -> tuple[TensorRule, ...]:
    """A gated feed-forward of three matrices."""
    return (
        layer("ffn_gate.weight", "feed_forward", "hidden", where=where),
        layer("ffn_up.weight", "feed_forward", "hidden", where=where),
        layer("ffn_down.weight", "hidden", "feed_forward", where=where),
    )


def experts(where: str = "experts") -> tuple[TensorRule, ...]:
    """A router and gated experts, stacked."""
    return (
        layer("ffn_gate_inp.weight", "experts", "hidden", where=where),
        layer("ffn_gate_exps.weight", "experts", "expert", "hidden", where=where),
        layer("ffn_up_exps.weight", "experts", "expert", "hidden", where=where),
        layer("ffn_down_exps.weight", "experts", "hidden", "expert", where=where),
    )


def shared_experts(where: str = "experts shared") -> tuple[TensorRule, ...]:
    """The experts that every token uses, as one gated feed-forward."""
    return (
        layer("ffn_gate_shexp.weight", "shared", "hidden", where=where),
        layer("ffn_up_shexp.weight", "shared", "hidden", where=where),
        layer("ffn_down_shexp.weight", "hidden", "shared", where=where),
    )


def mamba2(where: str = "state") -> tuple[TensorRule, ...]:
    """A Mamba-2 mixer."""
    return (
        layer("ssm_in.weight", "mamba_in", "hidden", where=where),
        layer("ssm_conv1d.weight", "convolved", "convolution", where=where),
        layer("ssm_conv1d.bias", "convolved", where=where),
        layer("ssm_dt.bias", "state_heads", where=where),
        layer("ssm_a", "state_heads", "one", where=where),
        layer("ssm_d", "state_heads", "one", where=where),
        layer("ssm_norm.weight", "groups", "group_inner", where=where),
        layer("ssm_out.weight", "hidden", "inner", where=where),
    )
