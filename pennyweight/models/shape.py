"""What recipes and the planner need to know of a model, read from GGUF metadata of any architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.core.errors import FormatError

MAX_BLOCKS = 512  # llama.cpp's LLAMA_MAX_LAYERS; a larger count aborts its process


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The counts of a model. Where GGUF allows one value per block, the tuple has `block_count` entries.

    Attributes:
        architecture: GGUF's name (`llama`, `qwen3moe`), the prefix of its keys.
        name: what the model calls itself; empty where it does not.
        block_count: decoder blocks.
        context_length: positions it was trained on, tokens.
        embedding_length: width of the residual stream.
        feed_forward_lengths: width of the dense feed-forward, per block; 0 where there is none.
        head_counts, head_counts_kv: attention heads and key-value heads, per block; 0 where a block has no attention.
        key_length, value_length: width of one key and one value head.
        expert_count, expert_used_count: 0 in a dense model; used is the most that any block uses.
        expert_feed_forward_length: width of one expert; 0 where the key is absent.
        vocabulary_size: tokens.
    """

    architecture: str
    name: str
    block_count: int
    context_length: int
    embedding_length: int
    feed_forward_lengths: tuple[int, ...]
    head_counts: tuple[int, ...]
    head_counts_kv: tuple[int, ...]
    key_length: int
    value_length: int
    expert_count: int
    expert_used_count: int
    expert_feed_forward_length: int
    vocabulary_size: int

    @property
    def head_count(self) -> int:
        """Heads of the first block, which llama.cpp takes for the model's."""
        return self.head_counts[0]

    @property
    def head_count_kv(self) -> int:
        """Key-value heads of the first block."""
        return self.head_counts_kv[0]

    @property
    def feed_forward_length(self) -> int:
        """Feed-forward width of the first block."""
        return self.feed_forward_lengths[0]


def shape_from_metadata(metadata: Mapping[str, Any]) -> ModelShape:
    """Read the shape from GGUF metadata (`GGUFValue`s); an absent key defaults as in llama.cpp's `load_hparams`.

    Raises: FormatError where a key that every model needs is absent, or a count cannot be one.
    """
    keys = Keys(metadata)
    blocks = keys.count("block_count")
    if not 1 <= blocks <= MAX_BLOCKS:
        raise FormatError(f"{keys.architecture}.block_count is {blocks}; wanted 1 to {MAX_BLOCKS}")
    heads = keys.per_block("attention.head_count", blocks, (0,) * blocks)
    embedding = keys.count("embedding_length")
    head_length = embedding // heads[0] if heads[0] else 0
    listed = _listed(keys.value("tokenizer.ggml.tokens"))
    return ModelShape(
        architecture=keys.architecture,
        name=str(keys.value("general.name") or ""),
        block_count=blocks,
        context_length=keys.count("context_length"),
        embedding_length=embedding,
        feed_forward_lengths=keys.per_block("feed_forward_length", blocks, (0,) * blocks),
        head_counts=heads,
        head_counts_kv=keys.per_block("attention.head_count_kv", blocks, heads),
        key_length=keys.count("attention.key_length", head_length),
        value_length=keys.count("attention.value_length", head_length),
        expert_count=keys.count("expert_count", 0),
        expert_used_count=max(keys.per_block("expert_used_count", blocks, (0,) * blocks)),
        expert_feed_forward_length=max(keys.per_block("expert_feed_forward_length", blocks, (0,) * blocks)),
        vocabulary_size=keys.count("vocab_size", listed),
    )


class Keys:
    """Metadata of one architecture, its values checked as they are taken; keys without the architecture's prefix."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        architecture = self.value("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise FormatError(f"general.architecture is {architecture!r}; wanted a name such as 'llama'")
        self.architecture = architecture

    def value(self, key: str) -> Any:
        """The plain value of a full key, None where it is absent."""
        typed = self._metadata.get(key)
        return None if typed is None else typed.value

    def value_of(self, key: str) -> Any:
        """The plain value of a key of the architecture, None where it is absent."""
        return self.value(f"{self.architecture}.{key}")

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 0."""
        found = self.value_of(key)
        found = default if found is None else found
        if found is None:
            raise FormatError(f"{self.architecture}.{key} is missing from the metadata")
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise FormatError(f"{self.architecture}.{key} is {found!r}; wanted a whole number of at least 0")
        return found

    def per_block(self, key: str, blocks: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """One count for all blocks, or an array with one for each."""
        found = self.value_of(key)
        if found is None:
            return default
        if not _is_array(found):
            return (self.count(key),) * blocks
        counts = _numbers(found)
        if not all(type(number) is int for number in counts) or len(counts) != blocks or min(counts) < 0:
            raise FormatError(f"{self.architecture}.{key} has {_in_words(found)}; wanted {blocks} counts, none below 0")
        return counts

    def flags(self, key: str, blocks: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """True or false, or a number that is 0 or not, for each block."""
        found = self.value_of(key)
        if not _is_array(found):
            return default
        values = _numbers(found)
        if not all(isinstance(value, int) for value in values) or len(values) != blocks:
            raise FormatError(f"{self.architecture}.{key} has {_in_words(found)}; wanted {blocks} truth values")
        return tuple(int(value != 0) for value in values)


def _is_array(found: Any) -> bool:
    """Whether a value is numbers of several blocks: NumPy's, as a file has them, or a tuple, as a config's are."""
    return isinstance(found, tuple) or hasattr(found, "dtype")


def _numbers(found: Any) -> tuple[Any, ...]:
    """Python's numbers and truth values."""
    return found if isinstance(found, tuple) else tuple(found.tolist())


def _in_words(found: Any) -> str:
    return f"{len(found)} values" + (f" of {found.dtype}" if hasattr(found, "dtype") else "")


def _listed(tokens: Any) -> int:
    """How many tokens a file lists."""
    if tokens is None:
        return 0
    from pennyweight.containers.gguf import StringArray  # here: a config lists none, and a plan of one needs no NumPy

    return len(tokens) if isinstance(tokens, StringArray) else 0
