"""The cache's bytes, against what llama.cpp allocates and what others logged when it did."""

from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Block, Keeps
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.kv import cells_of, kv_by_block, kv_bytes
from pennyweight.planner.request import Settings
from tests.models.tiny_configs import CONFIGS, tiny_anatomy, write_planned_gguf
from tests.planner.llama_log import allocated_mib

MIB = 1 << 20
SETTINGS = {
    "plain": Settings(context=4096),
    "two slots, padded, small batches": Settings(context=3001, slots=2, micro_batch=100),
    "quantized": Settings(context=2048, key_type="Q8_0", value_type="Q4_0"),
    "three slots without flash attention": Settings(context=1000, slots=3, flash_attention=False),
}


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("title", CONFIGS)
def test_the_cache_is_what_llama_cpp_allocates(title: str, how: str, tmp_path: Path) -> None:
    anatomy, settings = tiny_anatomy(title), SETTINGS[how]
    if anatomy.blocks[0].keeps is Keeps.LATENT:
        settings = replace(settings, value_type=settings.key_type)
    logged = allocated_mib(write_planned_gguf(tmp_path / "tiny.gguf", CONFIGS[title]), settings)
    kept = kv_by_block(anatomy, settings)
    attention = [float(mib) for part in "KV" for mib in logged.get(part, [])]
    state = [float(mib) for part in "RS" for mib in logged.get(part, [])]
    # Each number of the log is rounded to a hundredth.
    assert sum(block.attention for block in kept) / MIB == pytest.approx(sum(attention), abs=0.005 * len(attention))
    assert sum(block.state for block in kept) / MIB == pytest.approx(sum(state), abs=0.005 * len(state))


LOGGED = (
    ("Llama-2-7B", 512, "F16", 256.0),
    ("Llama-3.1-8B", 8192, "F16", 1024.0),
    ("Llama-3.1-8B", 1024, "F16", 128.0),
    ("Qwen3-30B-A3B", 32_768, "F16", 3072.0),
    ("Qwen3-30B-A3B", 4096, "F16", 384.0),
    ("Qwen3-32B", 8192, "F16", 2048.0),
)
"""Context, cache type and MiB from public load logs: XiongjieDai/GPU-Benchmarks-on-LLM-Inference (Llama),
ikawrakow/ik_llama.cpp (Qwen3)."""


@pytest.mark.parametrize(("name", "context", "cache_type", "mib"), LOGGED)
def test_published_models_take_what_others_logged(name: str, context: int, cache_type: str, mib: float) -> None:
    anatomy = anatomy_from_config(catalogue.get(name).fields, name=name)
    settings = Settings(context=context, key_type=cache_type, value_type=cache_type)
    assert kv_bytes(anatomy, settings) == mib * MIB


STATES = (("Qwen3.5-4B", 50.25), ("Qwen3.5-9B", 50.25))
"""MiB of recurrent state that llama.cpp logs for one sequence (`llama_memory_recurrent`, of it 2.25 of convolutions);
lmstudio-ai/lmstudio-bug-tracker issue 1563 has the 9B's in a context checkpoint."""


@pytest.mark.parametrize(("name", "mib"), STATES)
def test_the_state_of_a_hybrid_is_what_others_logged_at_any_context(name: str, mib: float) -> None:
    anatomy = anatomy_from_config(catalogue.get(name).fields, name=name)
    for context in (4096, 131_072):
        assert sum(block.state for block in kv_by_block(anatomy, Settings(context=context))) == mib * MIB


DIMENSIONS = (
    ("LLaMA-2-7B", 32, 4096, 4096, 512, "F16", 256.0),
    ("LLaMA-30B", 60, 6656, 6656, 512, "F16", 780.0),
    ("LLaMA-2-70B", 80, 1024, 1024, 512, "F16", 160.0),
    ("Llama-3-8B", 32, 1024, 1024, 8192, "F16", 1024.0),
    ("Llama-3.1-8B", 32, 1024, 1024, 1024, "F16", 128.0),
    ("Qwen3-30B-A3B", 48, 512, 512, 32_768, "F16", 3072.0),
    ("Qwen3-30B-A3B", 48, 512, 512, 4096, "F16", 384.0),
    ("Qwen3-Coder-30B-A3B", 48, 512, 512, 65_536, "F16", 6144.0),
    ("Qwen3-32B", 64, 1024, 1024, 8192, "F16", 2048.0),
    ("DeepSeek-V3, latent", 61, 576, 0, 32_768, "F16", 2196.0),
    ("DeepSeek-V3, latent", 61, 576, 0, 32_768, "Q8_0", 1166.62),
    ("DeepSeek-V3, latent", 61, 576, 0, 65_536, "Q8_0", 2333.25),
)
"""Model, blocks, widths of keys and values, context, cache type, MiB: every combination that public load logs state.

Sources: XiongjieDai/GPU-Benchmarks-on-LLM-Inference (llama.cpp), ikawrakow/ik_llama.cpp.
"""


@pytest.mark.parametrize(("model", "blocks", "keys", "values", "context", "cache_type", "mib"), DIMENSIONS)
def test_dimensions_that_others_logged_take_what_they_logged(
    model: str, blocks: int, keys: int, values: int, context: int, cache_type: str, mib: float
) -> None:
    keeps = Keeps.EVERY_TOKEN if values else Keeps.LATENT
    block = Block(keeps=keeps, key_width=keys, value_width=values)
    anatomy = replace(tiny_anatomy("qwen3"), name=model, blocks=(block,) * blocks)
    settings = Settings(context=context, key_type=cache_type, value_type=cache_type)
    assert round(kv_bytes(anatomy, settings) / MIB, 2) == pytest.approx(mib, abs=0.01)


def test_deepseek_v3_of_the_catalogue_keeps_what_the_logs_say() -> None:
    anatomy = anatomy_from_config(catalogue.get("DeepSeek-V3").fields, name="DeepSeek-V3")
    assert kv_bytes(anatomy, Settings(context=32_768)) == 2196 * MIB


@pytest.mark.parametrize(("cache_type", "share"), [("Q8_0", 34 / 64), ("Q4_0", 18 / 64), ("Q5_0", 22 / 64)])
def test_a_quantized_cache_counts_its_scales(cache_type: str, share: float) -> None:
    anatomy = anatomy_from_config(catalogue.get("Llama-3.1-8B").fields, name="Llama-3.1-8B")
    plain = kv_bytes(anatomy, Settings(context=8192))
    assert kv_bytes(anatomy, Settings(context=8192, key_type=cache_type, value_type=cache_type)) == share * plain


def test_a_window_never_holds_more_cells_than_the_context() -> None:
    window = next(block for block in tiny_anatomy("gemma2").blocks if block.keeps is Keeps.WINDOW)
    assert [cells_of(window, Settings(context=c)) for c in (256, 1024, 4096, 65_536)] == [256, 1024, 1536, 1536]


def test_latent_attention_has_one_cache_type_as_in_llama_cpp() -> None:
    with pytest.raises(BadRequest, match="-ctk and -ctv must be the same; got Q8_0 and F16"):
        kv_bytes(tiny_anatomy("deepseek2, v3"), Settings(context=256, key_type="Q8_0"))


def test_a_width_that_is_no_whole_blocks_is_refused() -> None:
    anatomy = tiny_anatomy("qwen3")
    odd = replace(anatomy, blocks=(replace(anatomy.blocks[0], key_width=100),))
    with pytest.raises(ShapeError, match="Q8_0 needs rows in multiples of 32"):
        kv_bytes(odd, Settings(context=256, key_type="Q8_0"))
