"""A small config.json of every architecture that is planned, its odd features kept, and its GGUF as planned here.

llama.cpp loads such a file only where every tensor it wants is there, of the shape it computes itself, and no other.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from pennyweight.models.anatomy import Anatomy
from pennyweight.models.architectures.base import Outline
from pennyweight.models.describe import anatomy_from_config, draft_head, metadata_of, outline_of
from tests.tiny_gguf import vocabulary

_BASE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "vocab_size": 512,
}
_DELTA = {
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 64,
    "linear_key_head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_conv_kernel_dim": 4,
}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 256}
_MAMBA = {"mamba_d_conv": 4, "mamba_d_state": 64, "mamba_n_groups": 1, "mamba_n_heads": 8, "mamba_expand": 2}
_LATENT = {
    "kv_lora_rank": 128,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 64,
    "v_head_dim": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
}


def _config(class_name: str, **fields: Any) -> dict[str, Any]:
    return {**_BASE, "architectures": [class_name], **fields}


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _config("LlamaForCausalLM"),
    "llama, llama3 rope": _config("LlamaForCausalLM", rope_scaling={"rope_type": "llama3", "factor": 8.0}),
    "mistral that sees": {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "vision_config": {},
        "text_config": _BASE,
    },
    "mixtral": _config("MixtralForCausalLM", num_local_experts=8, num_experts_per_tok=2),
    "qwen2, tied": _config("Qwen2ForCausalLM", tie_word_embeddings=True),
    "qwen3": _config("Qwen3ForCausalLM"),
    "qwen3moe": _config("Qwen3MoeForCausalLM", **_EXPERTS),
    "qwen3next": _config(
        "Qwen3NextForCausalLM",
        **_EXPERTS,
        **_DELTA,
        shared_expert_intermediate_size=256,
        num_hidden_layers=8,
    ),
    "qwen35": {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "vision_config": {},
        "text_config": {
            **_BASE,
            **_DELTA,
            "num_hidden_layers": 8,
            "full_attention_interval": 4,
            "mtp_num_hidden_layers": 1,
            "tie_word_embeddings": True,
        },
    },
    "qwen35, a list of blocks": _config(
        "Qwen3_5ForCausalLM",
        **_DELTA,
        layer_types=["full_attention", "linear_attention", "linear_attention", "full_attention"],
    ),
    "qwen35moe": {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "vision_config": {},
        "text_config": {
            **{key: value for key, value in _BASE.items() if key != "intermediate_size"},
            **_DELTA,
            **_EXPERTS,
            "shared_expert_intermediate_size": 256,
            "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
            "mtp_num_hidden_layers": 1,
        },
    },
    "gemma2": _config("Gemma2ForCausalLM", sliding_window=1024),
    "gemma3": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "vision_config": {},
        "text_config": {
            **{key: value for key, value in _BASE.items() if key in ("hidden_size", "intermediate_size")},
            "num_hidden_layers": 8,
            "sliding_window": 512,
            "vocab_size": 512,
        },
    },
    "phi3": _config("Phi3ForCausalLM", head_dim=None),
    "phi3, longrope, tied": _config(
        "Phi3ForCausalLM",
        head_dim=None,
        partial_rotary_factor=0.75,
        tie_word_embeddings=True,
        rope_scaling={"type": "longrope"},
        original_max_position_embeddings=4096,
    ),
    "phimoe": _config(
        "PhiMoEForCausalLM",
        head_dim=None,
        num_local_experts=8,
        num_experts_per_tok=2,
        rope_scaling={"type": "longrope"},
    ),
    "gpt-oss": _config("GptOssForCausalLM", num_local_experts=8, num_experts_per_tok=2, sliding_window=128),
    "gpt-oss, as published": _config(
        "GptOssForCausalLM",
        num_local_experts=8,
        num_experts_per_tok=2,
        sliding_window=128,
        quantization_config={"quant_method": "mxfp4"},
    ),
    "deepseek2, lite": _config("DeepseekV2ForCausalLM", **_LATENT, head_dim=None, num_hidden_layers=27),
    "deepseek2, v3": _config(
        "DeepseekV3ForCausalLM",
        **_LATENT,
        head_dim=None,
        q_lora_rank=128,
        topk_method="noaux_tc",
        num_nextn_predict_layers=1,
    ),
    "glm4": _config("Glm4ForCausalLM", attention_bias=True),
    "glm4moe": _config("Glm4MoeForCausalLM", **_LATENT, attention_bias=True, use_qk_norm=True),
    "olmo2": _config("Olmo2ForCausalLM", num_key_value_heads=4),
    "olmo2, windows": _config("Olmo3ForCausalLM", num_key_value_heads=4, sliding_window=1024),
    "granitehybrid": _config(
        "GraniteMoeHybridForCausalLM",
        **_MAMBA,
        layer_types=["mamba", "mamba", "attention", "mamba"],
        num_local_experts=8,
        num_experts_per_tok=2,
        shared_intermediate_size=512,
        tie_word_embeddings=True,
    ),
    "granitehybrid, dense": _config(
        "GraniteMoeHybridForCausalLM",
        **_MAMBA,
        layer_types=["mamba", "attention", "mamba", "mamba"],
        num_local_experts=0,
        shared_intermediate_size=512,
    ),
    "nemotron_h": _config(
        "NemotronHForCausalLM",
        hybrid_override_pattern="M-M*-",
        num_hidden_layers=5,
        mamba_num_heads=8,
        mamba_head_dim=64,
        conv_kernel=4,
        ssm_state_size=64,
        n_groups=2,
    ),
    "nemotron_h_moe": _config(
        "NemotronHForCausalLM",
        hybrid_override_pattern="MEM*E",
        num_hidden_layers=5,
        mamba_num_heads=8,
        mamba_head_dim=64,
        conv_kernel=4,
        ssm_state_size=64,
        n_groups=2,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=256,
        moe_shared_expert_intermediate_size=512,
    ),
}


def tiny_anatomy(title: str) -> Anatomy:
    """The anatomy of one of `CONFIGS`."""
    return anatomy_from_config(CONFIGS[title], name=title)


def write_planned_gguf(path: Path, config: Mapping[str, Any], *, with_draft: bool = False) -> Path:
    """The planned tensors of a config as a GGUF with a vocabulary, weights small and random."""
    architecture, outline = outline_of(config)
    anatomy, rng = anatomy_from_config(config, name="tiny"), np.random.default_rng(0)
    writer = GGUFWriter(path, architecture.name)
    for key, value in metadata_of(architecture, _with_draft(outline) if with_draft else outline).items():
        if key == "general.architecture":
            continue
        if isinstance(value.value, tuple):
            is_flag = key.endswith(("_pattern", ".recurrent_layers"))
            writer.add_array(key, [bool(n) if is_flag else int(n) for n in value.value])
        else:
            writer.add_uint32(key, value.value)  # type: ignore[arg-type]
    if architecture.name.startswith("qwen35"):
        writer.add_rope_dimension_sections([11, 11, 10, 0])  # of its positions in pictures; llama.cpp insists
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    _add_vocabulary(writer, anatomy.shape.vocabulary_size)
    for tensor in (*anatomy.tensors, *(draft_head(config) if with_draft else ())):
        weights = rng.standard_normal(tensor.shape, np.float32) * np.float32(0.02)
        stored = GGMLQuantizationType[tensor.format]
        writer.add_tensor(tensor.name, gguf.quants.quantize(weights, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _with_draft(outline: Outline) -> Outline:
    """The keys as llama.cpp's converter writes them, the blocks of the draft head among the others."""
    numbers, drafts = dict(outline.numbers), outline.draft_blocks
    numbers |= {"block_count": numbers["block_count"] + drafts, "nextn_predict_layers": drafts}  # type: ignore[operator]
    if isinstance(listed := numbers.get("attention.recurrent_layers"), tuple):
        numbers["attention.recurrent_layers"] = listed + (0,) * drafts
    return replace(outline, numbers=numbers)


def _add_vocabulary(writer: GGUFWriter, size: int) -> None:
    tokens, merges = vocabulary(size)
    tokens += [f"[PAD{i}]" for i in range(len(tokens), size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * size)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
