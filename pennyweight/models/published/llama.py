"""Llama 2 to 3.3, Mistral and Mixtral, by the config.json of each repository on the Hugging Face Hub."""

from pennyweight.models.published.row import Row, positions, row

_LLAMA3 = {"vocab_size": 128_256, "rope_theta": 500_000.0}
_NEXT = {
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "head_dim": 256,
    "shared_expert_intermediate_size": 512,
    "linear_conv_kernel_dim": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "vocab_size": 151_936,
    "rope_theta": 10_000_000.0,
    "max_position_embeddings": 262_144,
}


def _llama3(name: str, *counts: int, factor: float, head: int = 128, tied: bool = False) -> Row:
    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192}
    fields = {"head_dim": head, "rope_scaling": scaling, "tie_word_embeddings": tied}
    return row(f"meta-llama/{name}", "LlamaForCausalLM", *counts, **_LLAMA3, **positions(131_072), **fields)


def _llama2(size: str, *counts: int) -> Row:
    fields = {"vocab_size": 32_000} | positions(4096)
    return row(f"meta-llama/Llama-2-{size.lower()}-hf", "LlamaForCausalLM", *counts, name=f"Llama-2-{size}", **fields)


def _mistral(repository: str, *counts: int, vocabulary: int, context: int, name: str = "") -> Row:
    fields = {"vocab_size": vocabulary, "head_dim": 128, "rope_theta": 1_000_000.0} | positions(context)
    return row(f"mistralai/{repository}", "MistralForCausalLM", *counts, name=name, **fields)


def _mixtral(size: str, *counts: int, context: int) -> Row:
    fields = {
        "vocab_size": 32_000,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "rope_theta": 1_000_000.0,
    }
    fields |= positions(context)
    return row(f"mistralai/Mixtral-{size}-v0.1", "MixtralForCausalLM", *counts, name=f"Mixtral-{size}", **fields)


LLAMA = (
    row("meta-llama/Meta-Llama-3-8B", "LlamaForCausalLM", 4096, 14_336, 32, 32, 8, **_LLAMA3, **positions(8192)),
    row("meta-llama/Meta-Llama-3-70B", "LlamaForCausalLM", 8192, 28_672, 80, 64, 8, **_LLAMA3, **positions(8192)),
    _llama3("Llama-3.1-8B", 4096, 14_336, 32, 32, 8, factor=8.0),
    _llama3("Llama-3.1-70B", 8192, 28_672, 80, 64, 8, factor=8.0),
    _llama3("Llama-3.1-405B", 16_384, 53_248, 126, 128, 8, factor=8.0),
    _llama3("Llama-3.2-1B", 2048, 8192, 16, 32, 8, factor=32.0, head=64, tied=True),
    _llama3("Llama-3.2-3B", 3072, 8192, 28, 24, 8, factor=32.0, tied=True),
    _llama3("Llama-3.3-70B-Instruct", 8192, 28_672, 80, 64, 8, factor=8.0),
    _llama2("7B", 4096, 11_008, 32, 32, 32),
    _llama2("13B", 5120, 13_824, 40, 40, 40),
    _llama2("70B", 8192, 28_672, 80, 64, 8),
    _mistral("Mistral-7B-v0.1", 4096, 14_336, 32, 32, 8, vocabulary=32_000, context=32_768),
    _mistral("Mistral-7B-v0.3", 4096, 14_336, 32, 32, 8, vocabulary=32_768, context=32_768),
    _mistral(
        "Mistral-Nemo-Base-2407", 5120, 14_336, 40, 32, 8, vocabulary=131_072, context=131_072, name="Mistral-Nemo"
    ),
    _mistral("Mistral-Small-24B-Instruct-2501", 5120, 32_768, 40, 32, 8, vocabulary=131_072, context=32_768),
    _mixtral("8x7B", 4096, 14_336, 32, 32, 8, context=32_768),
    _mixtral("8x22B", 6144, 16_384, 56, 48, 8, context=65_536),
)
