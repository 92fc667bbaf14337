"""Published models by name, as the fields of their config.json that decide bytes and speed.

Left out is what neither depends on (norm epsilons, dropout, token ids): a config from here says how large and how fast
a model is, never how to read its weights. The test adds up every parameter and compares with the published count.

Source: `config.json` of each repository on the Hugging Face Hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pennyweight.core.errors import UnknownName
from pennyweight.models.config import ModelConfig, config_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One model: what people call it, where it is published, and its config.json as far as it is needed."""

    name: str
    repository: str
    fields: Mapping[str, Any]

    @property
    def config(self) -> ModelConfig:
        """The checked config."""
        return config_from_json(self.fields)


def get(name: str) -> PublishedModel:
    """The model of that name or repository, in any case: `qwen3-8b`, `Qwen/Qwen3-8B`. Raises: UnknownName."""
    for model in ALL:
        if name.lower() in (model.name.lower(), model.repository.lower()):
            return model
    raise UnknownName.among("published model", name, (model.name for model in ALL))


_COUNTS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
"""What the five numbers of a row below are, in order."""


def _model(repository: str, class_name: str, *counts: int, **fields: Any) -> PublishedModel:
    fields |= dict(zip(_COUNTS, counts, strict=True)) | {"architectures": [class_name]}
    return PublishedModel(name=repository.split("/")[1], repository=repository, fields=fields)


def _qwen3(size: str, *counts: int, tied: bool = False) -> PublishedModel:
    return _model(f"Qwen/Qwen3-{size}", "Qwen3ForCausalLM", *counts, **_QWEN3, tie_word_embeddings=tied)


def _qwen2_5(size: str, *counts: int, vocabulary: int, context: int, tied: bool = False) -> PublishedModel:
    fields = {"vocab_size": vocabulary, "max_position_embeddings": context, "rope_theta": 1_000_000.0}
    return _model(f"Qwen/Qwen2.5-{size}", "Qwen2ForCausalLM", *counts, **fields, tie_word_embeddings=tied)


def _llama3(name: str, *counts: int, factor: float, head: int = 128, tied: bool = False) -> PublishedModel:
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192}
    fields = {"head_dim": head, "rope_scaling": scaling, "tie_word_embeddings": tied}
    return _model(f"meta-llama/{name}", "LlamaForCausalLM", *counts, **_LLAMA3, **fields)


def _llama2(size: str, *counts: int) -> PublishedModel:
    model = _model(f"meta-llama/Llama-2-{size.lower()}-hf", "LlamaForCausalLM", *counts, **_LLAMA2)
    return replace(model, name=f"Llama-2-{size}")


def _mixtral(size: str, *counts: int, **fields: int) -> PublishedModel:
    model = _model(f"mistralai/Mixtral-{size}-v0.1", "MixtralForCausalLM", *counts, **_MISTRAL, **fields)
    return replace(model, name=f"Mixtral-{size}")


_QWEN3 = {"head_dim": 128, "vocab_size": 151_936, "max_position_embeddings": 40_960, "rope_theta": 1_000_000.0}
_A3B = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True}
_LLAMA3 = {"vocab_size": 128_256, "max_position_embeddings": 131_072, "rope_theta": 500_000.0}
_LLAMA2 = {"vocab_size": 32_000, "max_position_embeddings": 4096}
_MISTRAL = {"max_position_embeddings": 32_768, "rope_theta": 1_000_000.0}

ALL = (
    _qwen3("0.6B", 1024, 3072, 28, 16, 8, tied=True),
    _qwen3("1.7B", 2048, 6144, 28, 16, 8, tied=True),
    _qwen3("4B", 2560, 9728, 36, 32, 8, tied=True),
    _qwen3("8B", 4096, 12_288, 36, 32, 8),
    _qwen3("14B", 5120, 17_408, 40, 40, 8),
    _qwen3("32B", 5120, 25_600, 64, 64, 8),
    _model("Qwen/Qwen3-30B-A3B", "Qwen3MoeForCausalLM", 2048, 6144, 48, 32, 4, **_QWEN3, **_A3B),
    _qwen2_5("0.5B", 896, 4864, 24, 14, 2, vocabulary=151_936, context=32_768, tied=True),
    _qwen2_5("1.5B", 1536, 8960, 28, 12, 2, vocabulary=151_936, context=131_072, tied=True),
    _qwen2_5("3B", 2048, 11_008, 36, 16, 2, vocabulary=151_936, context=32_768, tied=True),
    _qwen2_5("7B", 3584, 18_944, 28, 28, 4, vocabulary=152_064, context=131_072),
    _qwen2_5("14B", 5120, 13_824, 48, 40, 8, vocabulary=152_064, context=131_072),
    _qwen2_5("32B", 5120, 27_648, 64, 40, 8, vocabulary=152_064, context=131_072),
    _qwen2_5("72B", 8192, 29_568, 80, 64, 8, vocabulary=152_064, context=131_072),
    _llama3("Llama-3.1-8B", 4096, 14_336, 32, 32, 8, factor=8.0),
    _llama3("Llama-3.1-70B", 8192, 28_672, 80, 64, 8, factor=8.0),
    _llama3("Llama-3.2-1B", 2048, 8192, 16, 32, 8, factor=32.0, head=64, tied=True),
    _llama3("Llama-3.2-3B", 3072, 8192, 28, 24, 8, factor=32.0, tied=True),
    _llama2("7B", 4096, 11_008, 32, 32, 32),
    _llama2("13B", 5120, 13_824, 40, 40, 40),
    _model("mistralai/Mistral-7B-v0.3", "MistralForCausalLM", 4096, 14_336, 32, 32, 8, vocab_size=32_768, **_MISTRAL),
    _mixtral("8x7B", 4096, 14_336, 32, 32, 8, vocab_size=32_000, num_local_experts=8, num_experts_per_tok=2),
)
"""Every model of the catalogue; sizes in the names are the publishers'."""
