"""demo: the whole main job on the embedded model: quantized to seven levels, each measured and run by llama.cpp.

A model of 8 M parameters lies in the processor's cache, so its speed says nothing about a real one's. The speeds are
those of a synthetic model whose smallest level is at least twice the last-level cache; the report says so.
"""

from pathlib import Path

from pennyweight.core.units import MIB, show_bytes
from pennyweight.evaluation.sweep import LevelSpeed, SweepResult
from pennyweight.evaluation.throughput import measure_speed
from pennyweight.jobs.level import Level
from pennyweight.jobs.measure_level import Extras
from pennyweight.jobs.speeds import level_speed
from pennyweight.jobs.sweep import OnRow, SweepOptions, file_type_levels, ignore_rows, sweep_with
from pennyweight.models.config import ModelConfig, config_from_json
from pennyweight.models.embedded import SURVEY
from pennyweight.pipeline.synthetic import synthetic_gguf
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, generate
from pennyweight.runtimes.speed import SpeedSettings
from pennyweight.store.machine import last_level_cache_bytes

PROMPT = "It was a"
GENERATED_TOKENS = 24

SPEED = SpeedSettings(prompt_tokens=128, generated_tokens=32, repetitions=3)
"""Shorter than llama-bench's tests: three minutes are all a demo may take."""

LAYER_WEIGHTS = 15_728_640
"""Weights of a layer as wide as Qwen3-0.6B's: 1024 wide, 16 heads of 128 on 8, 3072 in the feed-forward."""

LEAST_BITS = 2.9
"""Bits per weight of Q2_K, the smallest level, in such a layer."""

LAYERS = (8, 64)
"""Fewest and most layers of the synthetic model: 0.13 to 1.0 G weights."""


def demo(directory: str | Path, *, on_row: OnRow = ignore_rows) -> SweepResult:
    """Sweep the embedded model over seven levels on the embedded survey; files and report go into `directory`.

    Raises: OutputError where the directory cannot be written.
    """
    cache = last_level_cache_bytes() or 32 * MIB
    layers = synthetic_layers(cache)
    said = (
        f"{layers * LAYER_WEIGHTS / 1e9:.2f} G random weights in {layers} layers, at every level too large for the "
        f"last-level cache of {show_bytes(cache)}"
    )
    extras = Extras(
        key=f"{said} {SPEED} {PROMPT}", speed=lambda level, _: _synthetic_speed(level, layers, said), write=_continue
    )
    options = SweepOptions()
    levels = file_type_levels("embedded", options)
    return sweep_with(levels, extras, "embedded", SURVEY, directory, options, on_row=on_row)


def synthetic_layers(cache_bytes: int) -> int:
    """Layers for which the smallest level is at least twice the cache, within `LAYERS`."""
    wanted = -(-2 * cache_bytes * 8 // int(LAYER_WEIGHTS * LEAST_BITS))
    return min(max(wanted, LAYERS[0]), LAYERS[1])


def synthetic_config(layers: int) -> ModelConfig:
    """A Qwen3 as wide as Qwen3-0.6B, with the embedded model's small vocabulary, so that layers are all that counts."""
    return config_from_json(
        {
            "architectures": ["Qwen3ForCausalLM"],
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": layers,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 4096,
            "max_position_embeddings": 4096,
            "rope_theta": 1_000_000.0,
            "tie_word_embeddings": True,
        }
    )


def _synthetic_speed(level: Level, layers: int, said: str) -> LevelSpeed:
    with synthetic_gguf(synthetic_config(layers), "speed", get_file_type(level.name)) as path:
        return level_speed(measure_speed(path, SPEED), synthetic=said)


def _continue(gguf: Path) -> str:
    """What the model writes after `PROMPT`, greedily, the prompt included."""
    with Model.load(gguf) as model, Context(model, ContextSettings(n_ctx=256)) as context:
        prompt = model.tokenize(PROMPT, add_special=True)
        spoken = prompt[1:] if model.facts.add_bos else prompt
        return model.detokenize([*spoken, *generate(context, prompt, GENERATED_TOKENS)])
