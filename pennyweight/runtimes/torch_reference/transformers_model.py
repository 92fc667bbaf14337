"""`ModelConfig` → one of transformers' models without weights, on the meta device, which costs no memory."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import UnsupportedModel
from pennyweight.models import families
from pennyweight.models.config import ModelConfig
from pennyweight.models.rope import Rope

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


def empty_model(config: ModelConfig, names: Collection[str], dtype: "torch.dtype") -> "PreTrainedModel":
    """A model of `config` whose parameters are on the meta device; it computes nothing until they are filled.

    Args:
        names: the checkpoint's canonical tensors, which say whether the projections have biases.
    """
    import torch
    from transformers import AutoModelForCausalLM

    made = transformers_config(config, names)
    with torch.device("meta"):
        # sdpa, so that causal attention needs no mask, and a block can be called on its own.
        model = AutoModelForCausalLM.from_config(made, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def transformers_config(config: ModelConfig, names: Collection[str]) -> "PretrainedConfig":
    """The configuration in transformers' words, in the spelling that versions 4 and 5 both read.

    An output tied to the embedding is said to be untied here, as blocks of weights come and go one by one; whoever
    fills the model ties it again. Attention is full, as in llama.cpp (see `checkpoints.huggingface`).

    Raises: UnsupportedModel for a shape that transformers' class refuses.
    """
    from transformers import AutoConfig

    if config.family is families.LLAMA and config.embedding_length % config.head_count:
        raise UnsupportedModel(
            f"transformers' Llama wants a width in multiples of its heads, got {config.embedding_length} and "
            f"{config.head_count}; use the llama.cpp engine"
        )
    return AutoConfig.for_model(
        config.family.model_type,
        vocab_size=config.vocabulary_size,
        hidden_size=config.embedding_length,
        intermediate_size=config.feed_forward_length,
        num_hidden_layers=config.block_count,
        num_attention_heads=config.head_count,
        num_key_value_heads=config.head_count_kv,
        head_dim=config.head_length,
        max_position_embeddings=config.context_length,
        rms_norm_eps=config.rms_norm_epsilon,
        rope_theta=config.rope.theta,
        rope_scaling=_rope_scaling(config.rope),
        tie_word_embeddings=False,
        **_biases(names),
        **_experts(config),
    )


def rotary_embedding(model: "PreTrainedModel", factors: NDArray[np.float32] | None) -> Any:
    """The model's rotary embedding with its numbers computed (those that the meta device cannot hold), on the CPU.

    Args:
        factors: Llama 3's divisors of the frequencies, float32 (head_length / 2,), or None.
    """
    import torch

    rotary: Any = type(model.model.rotary_emb)(config=model.config)
    if factors is not None:
        rotary.inv_freq = rotary.inv_freq / torch.from_numpy(np.array(factors, np.float32))
        rotary.original_inv_freq = rotary.inv_freq.clone()
    return rotary


def _biases(names: Collection[str]) -> dict[str, Any]:
    parts = {name.removeprefix("blk.0.") for name in names if name.startswith("blk.0.") and name.endswith(".bias")}
    return {
        "attention_bias": any(part.startswith("attn_") for part in parts),
        "mlp_bias": any(part.startswith("ffn_") for part in parts),
    }


def _experts(config: ModelConfig) -> dict[str, Any]:
    """Mixtral's words and Qwen's; each class reads its own."""
    if not config.expert_count:
        return {}
    return {
        "num_experts_per_tok": config.expert_used_count,
        "num_local_experts": config.expert_count,
        "num_experts": config.expert_count,
        "moe_intermediate_size": config.expert_feed_forward_length,
        "norm_topk_prob": True,
        "sliding_window": None,
    }


def _rope_scaling(rope: Rope) -> dict[str, Any] | None:
    options: dict[str, Any] = {
        "factor": rope.factor,
        "original_max_position_embeddings": rope.original_context,
        "attention_factor": rope.attention_factor,
    }
    stated = {key: value for key, value in options.items() if value is not None}
    return None if rope.kind == "default" else {"rope_type": rope.kind} | stated
