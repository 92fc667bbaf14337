"""Where a canonical tensor goes in a Hugging Face directory: the families' tables, read towards the file."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pennyweight.models.config import ModelConfig
from pennyweight.models.families import Part, Source, TensorRule
from pennyweight.models.tensors import rules

EMBEDDING = "token_embd.weight"
_WEIGHT = ".weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One stored tensor.

    Attributes:
        stored: its name in the directory.
        tensor: the canonical one that it holds, or holds an expert of.
        expert: which; None where the tensor has none.
        shape: of the stored tensor.
        head_length: of heads whose rows the canonical tensor has in another order; None for the same order.
    """

    stored: str
    tensor: str
    expert: int | None
    shape: tuple[int, ...]
    head_length: int | None

    @property
    def module(self) -> str:
        """The module that it is the weight of."""
        return self.stored.removesuffix(_WEIGHT)

    @property
    def is_linear(self) -> bool:
        """A matrix that multiplies: not a vector, not the embedding."""
        return len(self.shape) == 2 and self.tensor != EMBEDDING and self.stored.endswith(_WEIGHT)


def places(config: ModelConfig, stored: Collection[str] = ()) -> Iterator[Place]:
    """Every tensor that a model of this config can have, optional ones too; experts one by one.

    Args:
        stored: names of a directory that is being read; of several spellings, the one that it uses is taken.
    """
    for rule, block in rules(config):
        source = _spelling(rule, block, stored)
        shape = tuple(config.dimension(dimension) for dimension in rule.shape)
        experts: list[int | None] = list(range(config.expert_count)) if "{expert}" in source.name else [None]
        for expert in experts:
            yield Place(
                stored=source.name.format(block=block, expert=expert),
                tensor=rule.name.format(block=block),
                expert=expert,
                shape=shape if expert is None else shape[1:],
                head_length=config.head_length if rule.permuted else None,
            )


def _spelling(rule: TensorRule, block: int, stored: Collection[str]) -> Source:
    """Never a fused one: calibrated layouts hold experts one by one."""
    single = [s for s in rule.sources if s.part is Part.ALL and ("{expert}" in s.name or "experts." not in s.name)]
    found = [source for source in single if source.name.format(block=block, expert=0) in stored]
    return (found or single)[0]
