"""When a rule of a file type holds: what it asks about the model and about a tensor's place in it, and how to say so.

Source: llama.cpp b11549 llama-quant.cpp, `llama_tensor_get_type_impl`; for the 70B of `SEVENTY_B`, src/models/*.cpp.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pennyweight.formats.sizes import block_size
from pennyweight.models.shape import ModelShape
from pennyweight.recipes.file_types import SEVENTY_B, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What rules ask about one tensor.

    Attributes:
        layer, layers: its place among the tensors of its role, and how many count as all of them.
        columns: length of its rows.
        base: the file type's base format.
        has_imatrix: whether an importance matrix is given.
    """

    layer: int
    layers: int
    columns: int
    base: str
    has_imatrix: bool


def holding(rule: Rule, at: Place, shape: ModelShape) -> list[str] | None:
    """Why a rule holds, in words (none where it has no conditions); None where one of its conditions fails."""
    conditions = list(_conditions(rule, at, shape))
    return [words for _, words in conditions if words] if all(holds for holds, _ in conditions) else None


def use_more_bits(layer: int, layers: int) -> bool:
    """The layers that *_M types spend more on: the first and last eighth, and every third of those between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _conditions(rule: Rule, at: Place, shape: ModelShape) -> Iterator[tuple[bool, str]]:
    """Whether each condition that the rule gives holds, and how to say it (empty: it goes without saying)."""
    if rule.first is not None:
        yield at.layer < rule.first, f"one of the first {rule.first}"
    if rule.first_part is not None:
        first = at.layers // rule.first_part
        yield at.layer < first, f"layer {at.layer}, one of the first {first} (1/{rule.first_part}) of {at.layers}"
    if rule.more_bits:
        yield use_more_bits(at.layer, at.layers), f"use_more_bits({at.layer}, {at.layers})"
    if rule.gqa is not None:
        yield _gqa(shape) >= rule.gqa, f"{_gqa(shape)} query heads share a KV head (at least {rule.gqa})"
    if rule.experts is not None:
        yield shape.expert_count == rule.experts, f"{rule.experts} experts"
    if rule.imatrix is not None:
        yield at.has_imatrix is rule.imatrix, f"{'with' if rule.imatrix else 'without'} an importance matrix"
    if rule.falcon is not None:
        yield (shape.architecture == "falcon") is rule.falcon, "falcon" if rule.falcon else ""
    if rule.seventy_b:
        yield _is_seventy_b(shape), "a 70B model"
    if rule.ragged:
        weights = block_size(at.base)
        yield at.columns % weights != 0, f"{at.columns} columns are not a multiple of {weights}"


def _gqa(shape: ModelShape) -> int:
    """Query heads that share one KV head in the first block; 0 where that block has no attention."""
    return shape.head_count // shape.head_count_kv if shape.head_count_kv else 0


def _is_seventy_b(shape: ModelShape) -> bool:
    """Whether llama.cpp calls the model 70B."""
    shared = shape.architecture not in ("llama", "llama-embed") or shape.head_count != shape.head_count_kv
    return (shape.architecture, shape.block_count) in SEVENTY_B and shared
