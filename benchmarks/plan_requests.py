"""How many requests servers hold: what the planner says beside what QServe's authors used and what vLLM's logs say.

    python benchmarks/plan_requests.py

Nothing is timed. The last line is one JSON object with the errors.
"""

import json

from pennyweight.core.units import GIB
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.qserve import qserve_memory
from pennyweight.planner.resolve import from_catalogue
from pennyweight.planner.served_types import get
from pennyweight.planner.vllm import VllmSettings, vllm_memory

PROMPT, OUTPUT = 1024, 512

CARDS = {"L40S": 44.99, "A100 80GB": 79.25}
"""GiB that the driver reports."""

BATCHES = (
    ("Llama-3-8B", 128, 256),
    ("Llama-2-7B", 128, 190),
    ("Mistral-7B", 128, 256),
    ("Llama-2-13B", 75, 128),
    ("Llama-30B", 32, 64),
    ("Yi-34B", 64, 196),
    ("Llama-2-70B", 24, 96),
    ("Qwen1.5-72B", 4, 32),
)
"""Batches of omniserve's throughput table, 1024 tokens in and 512 out; L40S, A100."""

CAPPED = {("Llama-3-8B", "L40S"), ("Mistral-7B", "L40S"), ("Llama-3-8B", "A100 80GB"), ("Mistral-7B", "A100 80GB")}
"""Rows where a round batch was chosen with more than half of the cache still free: no limit of memory."""

LOGS = (
    # model, card GiB, utilization, longest, batched tokens, sequences, weights, activations, cache (GiB), source
    ("Llama-3.1-8B", 22.07, 0.90, 131_072, 2048, 256, 14.99, 0.22, 4.60, "vLLM log of March 2025, 22 GiB card"),
    ("Llama-3.1-8B", 23.58, 0.90, 20_000, 20_000, 256, 14.99, 2.07, 3.81, "vllm issue 10517, RTX 3090"),
    ("Llama-3.1-8B", 23.58, 0.90, 29_000, 29_000, 256, 14.99, 2.99, 2.89, "vllm issue 10517, RTX 3090"),
    ("Llama-3-8B", 79.22, 0.90, 8192, 8192, 256, 14.96, 1.26, 53.29, "vllm pull request 10511, H100"),
    ("Llama-3.1-8B", 79.14, 0.90, 8192, 8192, 256, 14.99, 1.19, 54.93, "vLLM log of an 80 GB card"),
)
"""What vLLM printed after its profiling run."""


def shaped(name: str) -> Anatomy:
    """The model, from the catalogue or from its config's numbers."""
    if name in SHAPES:
        layers, width, forward, heads, kv_heads, vocabulary = SHAPES[name]
        fields = {
            "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": layers,
            "hidden_size": width,
            "intermediate_size": forward,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary,
            "max_position_embeddings": 4096,
        }
        return anatomy_from_config(fields, name=name, repository="", source="config.json")
    return from_catalogue(name)


SHAPES = {
    "Llama-3-8B": (32, 4096, 14_336, 32, 8, 128_256),
    "Mistral-7B": (32, 4096, 14_336, 32, 8, 32_000),
    "Llama-30B": (60, 6656, 17_920, 52, 52, 32_000),
    "Yi-34B": (60, 7168, 20_480, 56, 8, 64_000),
    "Llama-2-70B": (80, 8192, 28_672, 64, 8, 32_000),
    "Qwen1.5-72B": (80, 8192, 24_576, 64, 64, 152_064),
}
"""Blocks, width, feed-forward, heads, key-value heads, vocabulary: config.json of each."""


def qserve_rows() -> list[tuple[str, str, int, int]]:
    """(model, card, batch used, batch planned)."""
    rows = []
    for name, *used in BATCHES:
        for (card, gib), batch in zip(CARDS.items(), used, strict=True):
            made = qserve_memory(shaped(name), gib * GIB, PROMPT, OUTPUT, per_channel=card.startswith("A100"))
            rows.append((name, card, batch, made.batch))
    return rows


def vllm_rows() -> list[tuple[str, str, float, float, float, float]]:
    """(model, source, activations and cache in the log, activations and cache planned; GiB)."""
    rows = []
    for name, gib, share, longest, batched, sequences, _, activations, cache, source in LOGS:
        settings = VllmSettings(max_model_len=longest, utilization=share, batched_tokens=batched, sequences=sequences)
        made = vllm_memory(shaped(name), get("BF16"), gib * GIB, settings)
        rows.append((name, source, activations, cache, made.activation_bytes / GIB, made.page_bytes / GIB))
    return rows


def main() -> None:
    print(f"QServe W4A8KV4, {PROMPT} in + {OUTPUT} out: requests at once")
    print(f"{'model':<14}{'card':<12}{'used':>6}{'planned':>9}{'ratio':>8}")
    served = qserve_rows()
    for name, card, used, planned in served:
        mark = "  (not bound by memory)" if (name, card) in CAPPED else ""
        print(f"{name:<14}{card:<12}{used:>6}{planned:>9}{planned / used:>8.2f}{mark}")
    print("\nvLLM, GiB: activations and cache after the profiling run")
    print(f"{'model':<14}{'log':>8}{'planned':>9}{'cache':>9}{'planned':>9}  source")
    logs = vllm_rows()
    for name, source, activations, cache, planned_activations, planned_cache in logs:
        print(f"{name:<14}{activations:>8.2f}{planned_activations:>9.2f}{cache:>9.2f}{planned_cache:>9.2f}  {source}")
    bound = [planned / used for name, card, used, planned in served if (name, card) not in CAPPED]
    errors = [abs(planned - cache) / cache for _, _, _, cache, _, planned in logs]
    summary = {
        "qserve_rows": len(served),
        "qserve_ratio_least": min(bound),
        "qserve_ratio_most": max(bound),
        "vllm_cache_error_median": sorted(errors)[len(errors) // 2],
        "vllm_cache_error_most": max(errors),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
