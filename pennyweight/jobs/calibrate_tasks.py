"""The runs of a calibration: which models are generated, how large, and behind how much context."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pennyweight.models.config import ModelConfig, config_from_json
from pennyweight.runtimes.llama_tools import LLAMA_BENCH

IN_PROCESS = "llama.cpp"

MAIN = "Q4_K_M"
"""The family that gives the cost of a layer: what most files are."""

OTHERS = ("Q8_0", "F16", "IQ4_XS", "Q4_0", "Q3_K_S")
QUICK_OTHERS = ("Q8_0",)

THIN_LAYERS, WIDE_LAYERS = 48, 8
"""Both models weigh about the same: what differs is forty layers."""

WEIGHTS = {IN_PROCESS: 350_000_000, LLAMA_BENCH: 2_400_000_000}
"""Weights of each model. A processor's caches hold none of 200 MB; a card of 1 TB/s reads 1.4 GB in 1.6 ms."""

QUICK_WEIGHTS = {IN_PROCESS: 90_000_000, LLAMA_BENCH: 800_000_000}

CACHE_DEPTH = {IN_PROCESS: 2048, LLAMA_BENCH: 16_384}

CACHE_TYPES = ("f16", "q8_0")

PROMPT = 512
"""Tokens, as llama-bench's, and one micro-batch."""

CACHE_HEADS = {IN_PROCESS: 8, LLAMA_BENCH: 32}
"""Query heads of the models behind a long context, of 128 numbers, a quarter of them with keys and values, as published
models have them: llama.cpp reads an F16 cache once for all heads that share it and unpacks a quantized one for each."""

QUICK_CACHE_HEADS = {IN_PROCESS: 4, LLAMA_BENCH: 32}

HEADS_PER_CACHE, CACHE_HEAD_LENGTH = 4, 128

WEIGHTS_PER_SQUARE = 11.5
"""Weights of a layer over its width squared: queries and output 2, keys and values of a quarter of the heads 0.5,
feed-forward of three widths 9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One model and how it is run; `cache_heads` query heads make it one for a long context."""

    name: str
    type: str
    layers: int
    weights: int
    cache_type: str = "f16"
    depth: int = 0
    prompt: int = 0
    cache_heads: int = 0


def tasks_of(quick: bool, runtime: str) -> Iterator[Task]:
    weights = (QUICK_WEIGHTS if quick else WEIGHTS)[runtime]
    yield Task(name="many thin layers", type=MAIN, layers=THIN_LAYERS, weights=weights, prompt=PROMPT)
    yield Task(name="few wide layers", type=MAIN, layers=WIDE_LAYERS, weights=weights, prompt=PROMPT)
    for type in QUICK_OTHERS if quick else OTHERS:
        yield Task(name="few wide layers", type=type, layers=WIDE_LAYERS, weights=weights)
    heads = (QUICK_CACHE_HEADS if quick else CACHE_HEADS)[runtime]
    for cache_type in CACHE_TYPES[: 1 if quick else None]:
        small = Task(
            name="long context", type=MAIN, layers=8, weights=weights // 8, cache_type=cache_type, cache_heads=heads
        )
        yield small
        yield replace(small, depth=CACHE_DEPTH[runtime])


def config_of(task: Task) -> ModelConfig:
    """A Qwen3 of the task's layers, as wide as its weights ask for, in multiples of 256, with a small vocabulary."""
    width = max(256, round(math.sqrt(task.weights / task.layers / WEIGHTS_PER_SQUARE) / 256) * 256)
    heads = task.cache_heads or width // 64
    return config_from_json(
        {
            "architectures": ["Qwen3ForCausalLM"],
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": task.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // HEADS_PER_CACHE,
            "head_dim": CACHE_HEAD_LENGTH if task.cache_heads else 64,
            "vocab_size": 4096,
            "max_position_embeddings": 65_536,
            "tie_word_embeddings": True,
        }
    )
