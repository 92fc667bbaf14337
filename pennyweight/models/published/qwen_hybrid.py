"""Qwen3-Next and Qwen3.5 to 3.8, by the config.json of each repository on the Hugging Face Hub.

Of Qwen3.5 to 3.8, multimodal checkpoints with a draft head, the text model (`architectures.qwen_hybrid`).
"""

from typing import Any

from pennyweight.models.published.row import Row, positions, row

_DELTA: dict[str, Any] = {
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "rope_theta": 10_000_000.0,
    **positions(262_144),
}
_NEXT: dict[str, Any] = _DELTA | {
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "linear_num_value_heads": 32,
    "vocab_size": 151_936,
}
_QWEN35: dict[str, Any] = _DELTA | {
    "full_attention_interval": 4,
    "vocab_size": 248_320,
    "mtp_num_hidden_layers": 1,
    "vision_config": {},  # that there is one
}


def _dense(name: str, *counts: int, values: int, tied: bool = False) -> Row:
    fields = _QWEN35 | {"linear_num_value_heads": values, "tie_word_embeddings": tied}
    return row(f"Qwen/{name}", "Qwen3_5ForConditionalGeneration", *counts, **fields)


def _experts(
    name: str, hidden: int, blocks: int, heads: int, *, experts: int, used: int, width: int, values: int
) -> Row:
    fields = _QWEN35 | {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "hidden_size": hidden,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": width,
        "linear_num_value_heads": values,
        "tie_word_embeddings": False,
    }
    return Row(repository=f"Qwen/{name}", fields=fields)


def _dense_27b(name: str) -> Row:
    return _dense(name, 5120, 17_408, 64, 24, 4, values=48)


def _a3b(name: str) -> Row:
    return _experts(name, 2048, 40, 16, experts=256, used=8, width=512, values=32)


QWEN_HYBRID = (
    row("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3NextForCausalLM", 2048, 5120, 48, 16, 2, **_NEXT),
    row("Qwen/Qwen3-Coder-Next", "Qwen3NextForCausalLM", 2048, 5120, 48, 16, 2, **_NEXT),
    _dense("Qwen3.5-0.8B", 1024, 3584, 24, 8, 2, values=16, tied=True),
    _dense("Qwen3.5-2B", 2048, 6144, 24, 8, 2, values=16, tied=True),
    _dense("Qwen3.5-4B", 2560, 9216, 32, 16, 4, values=32, tied=True),
    _dense("Qwen3.5-9B", 4096, 12_288, 32, 16, 4, values=32),
    _dense_27b("Qwen3.5-27B"),
    _dense_27b("Qwen3.6-27B"),
    _dense_27b("Qwen3.8-27B"),
    _a3b("Qwen3.5-35B-A3B"),
    _a3b("Qwen3.6-35B-A3B"),
    _experts("Qwen3.5-122B-A10B", 3072, 48, 32, experts=256, used=8, width=1024, values=64),
    _experts("Qwen3.5-397B-A17B", 4096, 60, 32, experts=512, used=10, width=1024, values=64),
)
