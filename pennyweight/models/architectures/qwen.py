"""Qwen2.5, Qwen3 dense and with experts: GGUF's `qwen2`, `qwen3`, `qwen3moe`. The hybrids are in `qwen_hybrid`."""

from pennyweight.models import families
from pennyweight.models.architectures.base import Architecture, Outline
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, expert_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    return Outline(numbers=common_numbers(fields), features=common_features(fields), notes=common_notes(fields))


def _read_experts(fields: Fields) -> Outline:
    return Outline(numbers=common_numbers(fields) | expert_numbers(fields), features=common_features(fields))


_SOURCE = "llama.cpp src/models/{}.cpp, conversion/qwen.py"

QWEN2 = Architecture(
    name="qwen2",
    class_names=("Qwen2ForCausalLM",),
    read=_read,
    tensors=families.QWEN2.tensors,
    source=_SOURCE.format("qwen2"),
)
QWEN3 = Architecture(
    name="qwen3",
    class_names=("Qwen3ForCausalLM",),
    read=_read,
    tensors=families.QWEN3.tensors,
    source=_SOURCE.format("qwen3"),
)
QWEN3_MOE = Architecture(
    name="qwen3moe",
    class_names=("Qwen3MoeForCausalLM",),
    read=_read_experts,
    tensors=families.QWEN3_MOE.tensors,
    source=_SOURCE.format("qwen3moe"),
)
