"""Architectures that can be planned without weights, one file for each family of them."""

from pennyweight.models.architectures.base import Architecture
from pennyweight.models.architectures.deepseek import DEEPSEEK2
from pennyweight.models.architectures.gemma import GEMMA2, GEMMA3
from pennyweight.models.architectures.glm import GLM4, GLM4_MOE
from pennyweight.models.architectures.gpt_oss import GPT_OSS
from pennyweight.models.architectures.granite import GRANITE_HYBRID
from pennyweight.models.architectures.llama import LLAMA, MIXTRAL
from pennyweight.models.architectures.nemotron import NEMOTRON_H, NEMOTRON_H_MOE
from pennyweight.models.architectures.olmo import OLMO2
from pennyweight.models.architectures.phi import PHI3, PHI_MOE
from pennyweight.models.architectures.qwen import QWEN2, QWEN3, QWEN3_MOE
from pennyweight.models.architectures.qwen_hybrid import QWEN3_NEXT, QWEN35, QWEN35_MOE
from pennyweight.models.architectures.read_only import READ_ONLY
from pennyweight.models.fields import Fields

ALL: tuple[Architecture, ...] = (
    LLAMA,
    MIXTRAL,
    QWEN2,
    QWEN3,
    QWEN3_MOE,
    QWEN3_NEXT,
    QWEN35,
    QWEN35_MOE,
    GEMMA2,
    GEMMA3,
    PHI3,
    PHI_MOE,
    GPT_OSS,
    DEEPSEEK2,
    GLM4,
    GLM4_MOE,
    OLMO2,
    GRANITE_HYBRID,
    NEMOTRON_H,
    NEMOTRON_H_MOE,
)
"""Those whose config.json can be read."""


def for_config(class_name: str, fields: Fields) -> Architecture | None:
    """The architecture of a class of transformers; None where it is not known here.

    Two may share a class: then the one with experts is meant where the config speaks of them.
    """
    found = [architecture for architecture in ALL if class_name in architecture.class_names]
    has_experts = fields.value("num_experts_per_tok") is not None
    fitting = [a for a in found if has_experts == any("_exps." in rule.name for rule in a.tensors)]
    return next(iter(fitting if len(found) > 1 else found), None)


def by_gguf_name(name: str) -> Architecture | None:
    """The architecture that GGUF files call by this name; None where it is not known here."""
    return next((found for found in (*ALL, *READ_ONLY) if found.name == name), None)
