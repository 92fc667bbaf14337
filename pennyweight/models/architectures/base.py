"""What planning knows of an architecture: how a config.json becomes GGUF keys, its tensors, and what its blocks keep.

The tensor tables speak the language of `models.families`; the names of dimensions are explained in
`models.dimensions`. A rule's `where` lists words that must hold, of the model or of one block:

    untied       the output is not the token embedding        dense, experts     the kind of feed-forward, if any
    attention    the block attends to earlier tokens           state              the block carries a recurrent state

and words of the architecture's own, which its `read` gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    """

    numbers: Mapping[str, Number]
    features: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Which blocks see a sliding window only, where the file does not say.

    Attributes:
        period: of so many blocks, all but one have the window.
        default: tokens of the window where the file does not say; 0 for no window at all then.
        full_first: the block with full attention is the first of its period, not the last.
    """

    period: int
    default: int = 0
    full_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One architecture as llama.cpp stores and runs it.

    Attributes:
        name: GGUF's.
        class_names: what config.json says in `architectures`.
        read: config.json → keys and features.
        tensors: every tensor a file has.
        windows: None where every attending block sees all tokens.
        source: where in llama.cpp this was read.
    """

    name: str
    class_names: tuple[str, ...]
    read: Callable[[Fields], Outline]
    tensors: tuple[TensorRule, ...] = field(repr=False)
    windows: Windows | None = None
    source: str = ""


def tensor(name: str, *shape: str, where: str = "", float32: bool = False) -> TensorRule:
    """A tensor of no block; `where` is words with spaces between."""
    return TensorRule(name=name, sources=(), shape=shape, where=frozenset(where.split()), float32=float32)


def layer(name: str, *shape: str, where: str = "", float32: bool = False) -> TensorRule:
    """A tensor of each block in which `where` holds."""
    return tensor(f"blk.{{block}}.{name}", *shape, where=where, float32=float32)


def common_numbers(fields: Fields) -> dict[str, Number]:
    """The counts that nearly every config.json has under the same names."""
    hidden = fields.count("hidden_size")
    heads = fields.count("num_attention_heads")
    head = fields.count("head_dim", default=max(1, hidden // heads))
    return {
        "block_count": fields.count("num_hidden_layers"),
        "context_length": fields.count("max_position_embeddings"),
        "embedding_length": hidden,
        "feed_forward_length": fields.count("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": fields.count("num_key_value_heads", default=heads),
        "attention.key_length": head,
        "attention.value_length": head,
        "vocab_size": fields.count("vocab_size"),
    }


def expert_numbers(fields: Fields, width: str) -> dict[str, Number]:
    """Experts, under the several names that configs have for them; `width` is the field with an expert's width."""
    return {
        "expert_count": fields.count("num_experts", "num_local_experts", "n_routed_experts"),
        "expert_used_count": fields.count("num_experts_per_tok", "experts_per_token"),
        "expert_feed_forward_length": fields.count(width, "moe_intermediate_size"),
    }


def common_features(fields: Fields, tied_by_default: bool = False) -> frozenset[str]:
    """`untied`, unless the config ties the output to the token embedding."""
    return frozenset() if fields.flag("tie_word_embeddings", tied_by_default) else frozenset({"untied"})
