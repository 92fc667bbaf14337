"""Qwen2.5, QwQ and Qwen3, by the config.json of each repository on the Hugging Face Hub."""

from pennyweight.models.published.row import Row, positions, row

_QWEN3 = {"head_dim": 128, "vocab_size": 151_936, "rope_theta": 1_000_000.0}


def _qwen3(size: str, *counts: int, tied: bool = False, context: int = 40_960) -> Row:
    fields = _QWEN3 | positions(context)
    return row(f"Qwen/Qwen3-{size}", "Qwen3ForCausalLM", *counts, **fields, tie_word_embeddings=tied)


def _qwen3_moe(size: str, *counts: int, experts: int = 128, width: int = 768, context: int = 40_960) -> Row:
    fields = _QWEN3 | positions(context) | {"num_experts": experts, "num_experts_per_tok": 8, "norm_topk_prob": True}
    return row(f"Qwen/Qwen3-{size}", "Qwen3MoeForCausalLM", *counts, **fields, moe_intermediate_size=width)


def _qwen2(repository: str, *counts: int, context: int, vocabulary: int = 152_064, tied: bool = False) -> Row:
    fields = {
        "vocab_size": vocabulary,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": tied,
    } | positions(context)
    return row(f"Qwen/{repository}", "Qwen2ForCausalLM", *counts, **fields)


QWEN = (
    _qwen3("0.6B", 1024, 3072, 28, 16, 8, tied=True),
    _qwen3("1.7B", 2048, 6144, 28, 16, 8, tied=True),
    _qwen3("4B", 2560, 9728, 36, 32, 8, tied=True),
    _qwen3("4B-Instruct-2507", 2560, 9728, 36, 32, 8, tied=True, context=262_144),
    _qwen3("8B", 4096, 12_288, 36, 32, 8),
    _qwen3("14B", 5120, 17_408, 40, 40, 8),
    _qwen3("32B", 5120, 25_600, 64, 64, 8),
    _qwen3_moe("30B-A3B", 2048, 6144, 48, 32, 4),
    _qwen3_moe("30B-A3B-Instruct-2507", 2048, 6144, 48, 32, 4, context=262_144),
    _qwen3_moe("Coder-30B-A3B-Instruct", 2048, 6144, 48, 32, 4, context=262_144),
    _qwen3_moe("235B-A22B", 4096, 12_288, 94, 64, 4, width=1536),
    _qwen3_moe("235B-A22B-Instruct-2507", 4096, 12_288, 94, 64, 4, width=1536, context=262_144),
    _qwen3_moe("Coder-480B-A35B-Instruct", 6144, 8192, 62, 96, 8, experts=160, width=2560, context=262_144),
    _qwen2("Qwen2.5-0.5B", 896, 4864, 24, 14, 2, vocabulary=151_936, context=32_768, tied=True),
    _qwen2("Qwen2.5-1.5B", 1536, 8960, 28, 12, 2, vocabulary=151_936, context=131_072, tied=True),
    _qwen2("Qwen2.5-3B", 2048, 11_008, 36, 16, 2, vocabulary=151_936, context=32_768, tied=True),
    _qwen2("Qwen2.5-7B", 3584, 18_944, 28, 28, 4, context=131_072),
    _qwen2("Qwen2.5-14B", 5120, 13_824, 48, 40, 8, context=131_072),
    _qwen2("Qwen2.5-32B", 5120, 27_648, 64, 40, 8, context=131_072),
    _qwen2("Qwen2.5-72B", 8192, 29_568, 80, 64, 8, context=131_072),
    _qwen2("Qwen2.5-Coder-7B", 3584, 18_944, 28, 28, 4, context=32_768),
    _qwen2("Qwen2.5-Coder-14B", 5120, 13_824, 48, 40, 8, context=32_768),
    _qwen2("Qwen2.5-Coder-32B", 5120, 27_648, 64, 40, 8, context=32_768),
    _qwen2("QwQ-32B", 5120, 27_648, 64, 40, 8, context=40_960),
)
