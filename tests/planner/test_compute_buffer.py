"""The compute buffer against llama.cpp's own log lines: recorded of large models, live of small generated ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pennyweight.core.units import MIB
from pennyweight.planner.compute_buffer import Era, GraphShape, compute_buffer
from pennyweight.planner.request import Settings
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model
from pennyweight.runtimes.llama_cpp.shared_object import _log_callback, library
from pennyweight.runtimes.llama_cpp.structs import LOG_CALLBACK
from tests.planner.footprints import LLAMA_2_7B, LLAMA_3_8B, QWEN3_30B_A3B
from tests.tiny_gguf import write_tiny_gguf

OLD = Era.FULL_LOGITS

# graph, context, flash attention, cards, logged MiB a card, allowed share: XiongjieDai's and ik_llama.cpp's logs,
# issue logs of llama.cpp (benchmarks/data/memory.csv)
LOGGED = [
    (LLAMA_2_7B, 512, False, 1, 73.69, 0.03),
    (LLAMA_3_8B, 8192, False, 1, 560.0, 0.001),
    (LLAMA_3_8B, 8192, False, 4, 640.01, 0.001),
    (LLAMA_3_8B, 1024, False, 1, 266.5, 0.01),
    (QWEN3_30B_A3B, 32_768, True, 1, 304.75, 0.01),
    (QWEN3_30B_A3B, 65_536, True, 1, 300.75, 0.01),
]


@pytest.mark.parametrize(("graph", "context", "flash", "cards", "logged", "allowed"), LOGGED)
def test_older_builds_reserve_what_their_logs_say(
    graph: GraphShape, context: int, flash: bool, cards: int, logged: float, allowed: float
) -> None:
    settings = Settings(context=context, flash_attention=flash)
    assert compute_buffer(graph, settings, cards=cards, era=OLD) / MIB == pytest.approx(logged, rel=allowed)


def test_weights_on_loan_need_room_for_the_two_largest_matrices() -> None:
    # llama.cpp's documentation of --fit: Qwen3-30B-A3B F16, experts of 34 blocks on the host, 898 MiB
    made = compute_buffer(QWEN3_30B_A3B, Settings(context=4096), streams=True, era=OLD)
    assert made / MIB == pytest.approx(898, rel=0.07)


def test_a_build_since_mid_2026_reserves_no_logits_of_a_whole_batch() -> None:
    qwen3 = GraphShape(
        vocabulary=151_936, width=1024, feed_forward=3072, heads=16, kv_heads=8, head_length=128, largest_matrix=1
    )  # Qwen3-0.6B: 32 MiB in 2026 (reference 0, point 2)
    assert compute_buffer(qwen3, Settings(context=4096)) / MIB == pytest.approx(32, rel=0.01)


@pytest.fixture
def llama_log() -> Iterator[list[str]]:
    lines: list[str] = []
    callback = LOG_CALLBACK(lambda level, text, _: lines.append((text or b"").decode("utf-8", "replace")))
    library().llama_log_set(callback, None)
    yield lines
    library().llama_log_set(_log_callback, None)


SHAPE = {"vocabulary": 512, "hidden": 256, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 64, "context": 65_536}
LIVE = [
    ({"feed_forward": 1024}, {}),
    ({"feed_forward": 2048}, {"n_ctx": 16_384}),
    ({"feed_forward": 2048, "hidden": 512}, {"n_ubatch": 128}),
    ({"feed_forward": 512, "heads": 16}, {}),
    ({"feed_forward": 512, "vocabulary": 16_384}, {}),
    ({"feed_forward": 2048, "architecture": "llama"}, {"n_seq_max": 4, "n_ctx": 1024}),
    ({"feed_forward": 512, "architecture": "qwen3moe", "experts": 8}, {}),
    ({"feed_forward": 1024, "hidden": 512, "architecture": "qwen3moe", "experts": 8}, {}),
    ({"feed_forward": 256, "hidden": 1024, "architecture": "qwen3moe", "experts": 8}, {}),
]


@pytest.mark.parametrize(("changes", "context"), LIVE)
def test_the_pinned_build_reserves_what_the_closed_form_says(
    changes: dict, context: dict, tmp_path: Path, llama_log: list[str]
) -> None:
    shape = SHAPE | changes
    path = write_tiny_gguf(tmp_path / "model.gguf", **shape)
    asked = {"n_ctx": 4096, "n_ubatch": 512, "flash_attention": True, "threads": 1} | context
    with Model.load(path, n_gpu_layers=0) as model, Context(model, ContextSettings(**asked)):
        found = re.search(r"compute buffer size =\s+([\d.]+) MiB", "".join(llama_log))
    assert found is not None
    logged = float(found[1])
    settings = Settings(context=asked["n_ctx"], slots=asked.get("n_seq_max", 1), micro_batch=asked["n_ubatch"])
    graph = GraphShape(
        vocabulary=shape["vocabulary"],
        width=shape["hidden"],
        feed_forward=0 if "experts" in shape else shape["feed_forward"],
        heads=shape["heads"],
        kv_heads=shape["kv_heads"],
        head_length=shape["head_dim"],
        expert_used=2 if "experts" in shape else 0,
        expert_feed_forward=shape["feed_forward"] if "experts" in shape else 0,
    )
    made = compute_buffer(graph, settings, logit_rows=min(asked["n_ubatch"], asked["n_ctx"]))
    # Positions, tokens and cell numbers, some 40 bytes a token, are left out of the form.
    assert made / MIB == pytest.approx(logged, rel=0.01, abs=0.03)
