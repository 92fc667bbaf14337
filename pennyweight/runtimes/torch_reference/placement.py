"""Which numbers of which tensor fill which parameter of transformers' model: the families' tables, read backwards.

transformers holds experts as it likes: one matrix per expert (version 4), or all in one tensor with gate on top of up
(version 5). Each rule of a family lists the spellings; the one that the model at hand has is taken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models.config import ModelConfig
from pennyweight.models.families import OUTPUT, Part, Source, TensorRule
from pennyweight.models.tensors import ROPE_FREQUENCIES, rules

EMBEDDING = "token_embd.weight"
_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One tensor, or one expert of it, in one parameter.

    Attributes:
        parameter: transformers' name.
        tensor: where the numbers are; None for a bias that the file leaves out beside others, which is zero.
        name: the canonical name, also of a bias that is left out.
        expert: whose matrix it is, where a parameter holds one; None where it holds all, or there are none.
        part: which rows of each expert in the parameter the tensor fills.
        head_length: of heads whose rows come in llama.cpp's order and go in transformers'; None for the same order.
    """

    parameter: str
    tensor: LazyTensor | None
    name: str
    expert: int | None
    part: Part
    head_length: int | None


def placements(
    config: ModelConfig, tensors: Mapping[str, LazyTensor], parameters: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[Placement, ...]]:
    """Parameter name → what fills it, for every parameter.

    Args:
        tensors: canonical name → tensor.
        parameters: name → shape, of transformers' model.

    Raises:
        FormatError: a tensor is missing or has another shape than the metadata implies.
        UnsupportedModel: a tensor that the model has no place for, or a parameter that no table knows.
    """
    found: dict[str, list[Placement]] = {}
    used, missing = set[str](), []
    if config.family.frequency_factors and ROPE_FREQUENCIES in tensors:
        used.add(ROPE_FREQUENCIES)
        _require_shape(tensors[ROPE_FREQUENCIES], (config.head_length // 2,))
    for rule, block in rules(config):
        name = rule.name.format(block=block)
        tensor = tensors.get(EMBEDDING if rule.name == OUTPUT and config.tied else name)
        if tensor is not None:
            used.add(name)
            _require_shape(tensor, tuple(config.dimension(dimension) for dimension in rule.shape))
        elif not rule.optional:
            missing.append(name)
        for placement in _placed(rule, block, tensor, config, parameters):
            found.setdefault(placement.parameter, []).append(placement)
    if missing:
        raise FormatError(f"the checkpoint lacks {_some(missing)}, which a {config.family.architecture} model has")
    homeless = [name for name in tensors if name not in used] + [name for name in parameters if name not in found]
    if homeless:
        raise UnsupportedModel(f"a {config.family.class_name} in the torch engine has no place for {_some(homeless)}")
    return {name: tuple(placed) for name, placed in found.items()}


def _placed(
    rule: TensorRule,
    block: int,
    tensor: LazyTensor | None,
    config: ModelConfig,
    parameters: Mapping[str, tuple[int, ...]],
) -> Iterator[Placement]:
    for source in rule.sources:
        names = _names(source, block, config)
        if names[0] not in parameters:
            continue
        for expert, parameter in enumerate(names):
            yield Placement(
                parameter=parameter,
                tensor=tensor,
                name=EMBEDDING if rule.name == OUTPUT and config.tied else rule.name.format(block=block),
                expert=expert if len(names) > 1 else None,
                part=source.part,
                head_length=config.head_length if rule.permuted else None,
            )
        return


def _names(source: Source, block: int, config: ModelConfig) -> list[str]:
    experts = range(config.expert_count if "{expert}" in source.name else 1)
    return [source.name.format(block=block, expert=expert) for expert in experts]


def _require_shape(tensor: LazyTensor, wanted: tuple[int, ...]) -> None:
    if tensor.shape != wanted:
        raise FormatError(f"{tensor.name} has shape {tensor.shape}, the metadata implies {wanted}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
