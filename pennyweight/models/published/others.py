"""Gemma, Phi, gpt-oss, DeepSeek, GLM, OLMo, Granite and Nemotron, by their config.json on the Hugging Face Hub."""

from typing import Any

from pennyweight.models.published.row import Row, positions, row, yarn

_V3 = {
    "q_lora_rank": 1536,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "topk_method": "noaux_tc",
    "num_nextn_predict_layers": 1,
}
_PHI_MOE = {
    "num_local_experts": 16,
    "num_experts_per_tok": 2,
    "vocab_size": 32_064,
    "max_position_embeddings": 131_072,
    "rope_scaling": {"type": "longrope", "original_max_position_embeddings": 4096},
}
_AIR = {
    "head_dim": 128,
    "n_routed_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 1408,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "attention_bias": True,
    "num_nextn_predict_layers": 1,
    "vocab_size": 151_552,
    "max_position_embeddings": 131_072,
}
_NANO3 = {
    "n_routed_experts": 128,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712,
}
_NANO2_BLOCKS = "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-"
_NANO3_BLOCKS = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"


def _gemma2(size: str, *counts: int, head: int = 256) -> Row:
    fields: dict[str, Any] = {"vocab_size": 256_000, "head_dim": head, "sliding_window": 4096} | positions(8192)
    return row(f"google/gemma-2-{size}", "Gemma2ForCausalLM", *counts, **fields)


def _gemma3(size: str, *counts: int, head: int = 256, sees: bool = True) -> Row:
    fields: dict[str, Any] = {
        "vocab_size": 262_208 if sees else 262_144,
        "head_dim": head,
        "sliding_window": 1024 if sees else 512,
    }
    fields |= positions(131_072 if sees else 32_768)
    if not sees:
        return row(f"google/gemma-3-{size}", "Gemma3ForCausalLM", *counts, **fields)
    fields |= {"vision_config": {}, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    return row(f"google/gemma-3-{size}-it", "Gemma3ForConditionalGeneration", *counts, name=f"gemma-3-{size}", **fields)


def _phi(name: str, *counts: int, vocabulary: int = 32_064, context: int, **fields: Any) -> Row:
    long = {"rope_scaling": {"type": "longrope", "original_max_position_embeddings": 4096}} if context > 99_999 else {}
    named: dict[str, Any] = {"vocab_size": vocabulary} | positions(context) | long | fields
    return row(f"microsoft/{name}", "Phi3ForCausalLM", *counts, **named)


def _gpt_oss(size: str, blocks: int, experts: int) -> Row:
    fields: dict[str, Any] = {
        "vocab_size": 201_088,
        "head_dim": 64,
        "num_local_experts": experts,
        "num_experts_per_tok": 4,
    }
    fields |= (
        {"sliding_window": 128, "quantization_config": {"quant_method": "mxfp4"}}
        | positions(131_072)
        | yarn(32.0, 4096)
    )
    return row(f"openai/gpt-oss-{size}", "GptOssForCausalLM", 2880, 2880, blocks, 64, 8, **fields)


def _deepseek(repository: str, version: int, *counts: int, vocabulary: int, **fields: Any) -> Row:
    shared = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
    shared |= {"vocab_size": vocabulary} | positions(163_840) | yarn(40.0, 4096)
    return row(f"deepseek-ai/{repository}", f"DeepseekV{version}ForCausalLM", *counts, **shared, **fields)


def _deepseek3(repository: str) -> Row:
    return _deepseek(repository, 3, 7168, 18_432, 61, 128, 128, vocabulary=129_280, **_V3)


def _olmo2(name: str, *counts: int) -> Row:
    return row(f"allenai/{name}", "Olmo2ForCausalLM", *counts, vocab_size=100_352, **positions(4096))


def _granite(size: str, *counts: int, experts: int = 0, used: int = 0, shared: int, states: int) -> Row:
    kinds = ["attention" if block in (5, 15, 25, 35) else "mamba" for block in range(40)]
    fields = {
        "layer_types": kinds,
        "vocab_size": 100_352,
        "tie_word_embeddings": True,
        **positions(131_072),
    }
    fields |= {"num_local_experts": experts, "num_experts_per_tok": used, "shared_intermediate_size": shared}
    fields |= {"mamba_n_heads": states, "mamba_expand": 2, "mamba_d_conv": 4, "mamba_d_state": 128, "mamba_n_groups": 1}
    return row(f"ibm-granite/granite-4.0-h-{size}", "GraniteMoeHybridForCausalLM", *counts, **fields)


def _nemotron(name: str, pattern: str, *counts: int, heads: int, head: int, context: int, **fields: Any) -> Row:
    fields |= {"hybrid_override_pattern": pattern, "vocab_size": 131_072, "head_dim": 128, **positions(context)}
    fields |= {"mamba_num_heads": heads, "mamba_head_dim": head, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4}
    return row(f"nvidia/NVIDIA-{name}", "NemotronHForCausalLM", *counts, name=name, **fields)


OTHERS = (
    _gemma2("2b", 2304, 9216, 26, 8, 4),
    _gemma2("9b", 3584, 14_336, 42, 16, 8),
    _gemma2("27b", 4608, 36_864, 46, 32, 16, head=128),
    _gemma3("270m", 640, 2048, 18, 4, 1, sees=False),
    _gemma3("1b-it", 1152, 6912, 26, 4, 1, sees=False),
    _gemma3("4b", 2560, 10_240, 34, 8, 4),
    _gemma3("12b", 3840, 15_360, 48, 16, 8),
    _gemma3("27b", 5376, 21_504, 62, 32, 16, head=128),
    _phi("Phi-3-mini-4k-instruct", 3072, 8192, 32, 32, 32, context=4096),
    _phi("Phi-3-medium-4k-instruct", 5120, 17_920, 40, 40, 10, context=4096),
    _phi("Phi-3.5-mini-instruct", 3072, 8192, 32, 32, 32, context=131_072),
    _phi("phi-4", 5120, 17_920, 40, 40, 10, vocabulary=100_352, context=16_384),
    _phi(
        "Phi-4-mini-instruct",
        3072,
        8192,
        32,
        24,
        8,
        vocabulary=200_064,
        context=131_072,
        partial_rotary_factor=0.75,
        tie_word_embeddings=True,
    ),
    row("microsoft/Phi-3.5-MoE-instruct", "PhiMoEForCausalLM", 4096, 6400, 32, 32, 8, **_PHI_MOE),
    _gpt_oss("20b", 24, 32),
    _gpt_oss("120b", 36, 128),
    _deepseek(
        "DeepSeek-V2-Lite",
        2,
        2048,
        10_944,
        27,
        16,
        16,
        vocabulary=102_400,
        n_routed_experts=64,
        num_experts_per_tok=6,
        moe_intermediate_size=1408,
        n_shared_experts=2,
        first_k_dense_replace=1,
    ),
    _deepseek(
        "DeepSeek-V2",
        2,
        5120,
        12_288,
        60,
        128,
        128,
        vocabulary=102_400,
        q_lora_rank=1536,
        n_routed_experts=160,
        num_experts_per_tok=6,
        moe_intermediate_size=1536,
        n_shared_experts=2,
        first_k_dense_replace=1,
    ),
    _deepseek3("DeepSeek-V3"),
    _deepseek3("DeepSeek-V3.1"),
    _deepseek3("DeepSeek-R1"),
    row(
        "THUDM/GLM-4-9B-0414",
        "Glm4ForCausalLM",
        4096,
        13_696,
        40,
        32,
        2,
        vocab_size=151_552,
        head_dim=128,
        attention_bias=True,
        max_position_embeddings=32_768,
    ),
    row("zai-org/GLM-4.5-Air", "Glm4MoeForCausalLM", 4096, 10_944, 46, 96, 8, **_AIR),
    _olmo2("OLMo-2-0425-1B", 2048, 8192, 16, 16, 16),
    _olmo2("OLMo-2-1124-7B", 4096, 11_008, 32, 32, 32),
    _olmo2("OLMo-2-1124-13B", 5120, 13_824, 40, 40, 40),
    _olmo2("OLMo-2-0325-32B", 5120, 27_648, 64, 40, 8),
    _granite("micro", 2048, 8192, 40, 32, 8, shared=8192, states=64),
    _granite("tiny", 1536, 512, 40, 12, 4, experts=64, used=6, shared=1024, states=48),
    _granite("small", 4096, 768, 40, 32, 8, experts=72, used=10, shared=1536, states=128),
    _nemotron("Nemotron-Nano-9B-v2", _NANO2_BLOCKS, 4480, 15_680, 56, 40, 8, heads=128, head=80, context=131_072),
    _nemotron(
        "Nemotron-3-Nano-30B-A3B-BF16",
        _NANO3_BLOCKS,
        2688,
        1856,
        52,
        32,
        2,
        heads=64,
        head=64,
        context=262_144,
        **_NANO3,
    ),
)
