"""Memory against logs: the cache of every row of `memory.csv`, compute buffers where the model is known, breakdowns."""

import csv
from collections.abc import Iterator

from benchmarks.planner_rows import DATA
from pennyweight import formats
from pennyweight.core.units import MIB
from pennyweight.planner.compute_buffer import Era, GraphShape, compute_buffer
from pennyweight.planner.request import Settings

Group = dict[str, float | int | None]


def _graph(vocabulary: int, width: int, forward: int, heads: int, kv_heads: int, **experts: int) -> GraphShape:
    length = 256 if experts.get("long") else 128
    return GraphShape(
        vocabulary=vocabulary,
        width=width,
        feed_forward=forward,
        heads=heads,
        kv_heads=kv_heads,
        head_length=length,
        expert_used=experts.get("used", 0),
        expert_feed_forward=experts.get("each", 0),
        largest_matrix=experts.get("largest", 0),
    )


GRAPHS = {
    "LLaMA-2-7B": _graph(32_000, 4096, 11_008, 32, 32),
    "LLaMA-30B": _graph(32_000, 6656, 17_920, 52, 52),
    "LLaMA-2-70B": _graph(32_000, 8192, 28_672, 64, 8),
    "Llama-3-8B": _graph(128_256, 4096, 14_336, 32, 8),
    "Llama-3.1-8B": _graph(128_256, 4096, 14_336, 32, 8),
    "Qwen3-30B-A3B": _graph(151_936, 2048, 0, 32, 4, used=8, each=768),
    "Qwen3-Coder-30B-A3B": _graph(151_936, 2048, 0, 32, 4, used=8, each=768),
}
"""config.json of each; DeepSeek's latent attention is not covered by the closed forms."""


def _rows(name: str) -> Iterator[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def cache_errors() -> Group:
    """Largest error of the cache, rounded as logs round it (0.01 MiB)."""
    errors = []
    for row in _rows("memory.csv"):
        kind = formats.get(row["kv_type"])
        widths = [int(row[name]) for name in ("k_dim", "v_dim") if int(row[name])]
        made = sum(kind.row_bytes(width) for width in widths) * int(row["kv_layers"]) * int(row["n_ctx"]) / MIB
        errors.append(max(abs(made - float(row["kv_MiB"])) - 0.01, 0) / float(row["kv_MiB"]))
    return {"rows": len(errors), "largest": max(errors)}


def buffer_errors() -> dict[str, Group]:
    """Compute buffers of older builds by kind of run."""
    found: dict[str, list[float]] = {"compute, flash attention": [], "compute, without": [], "compute, cards": []}
    for row in _rows("memory.csv"):
        graph = GRAPHS.get(row["model"].split(" (")[0].split(" 4.64")[0])
        if graph is None or not row["compute_MiB"]:
            continue
        cards = int(row["model"].split("(")[1].split()[0]) if "GPUs" in row["model"] else 1
        flash = row["flash_attn"] == "1"
        settings = Settings(context=int(row["n_ctx"]), micro_batch=int(row["n_ubatch"]), flash_attention=flash)
        made = compute_buffer(graph, settings, cards=cards, era=Era.FULL_LOGITS) * cards / MIB
        kind = "compute, cards" if cards > 1 else "compute, flash attention" if flash else "compute, without"
        found[kind].append(abs(made / float(row["compute_MiB"]) - 1))
    return {kind: {"rows": len(errors), "largest": max(errors)} for kind, errors in found.items()}


NEXT = _graph(151_936, 2048, 0, 16, 2, used=10, each=512, long=1)
MOE = _graph(151_936, 2048, 0, 32, 4, used=8, each=768, largest=128 * 768 * 2048 * 2)

BREAKDOWNS = (
    # model MiB, cache MiB by its formula, graph, context, weights on loan, what llama.cpp counted for itself (MiB)
    (28_609, 12 * 2 * 2 * 256 * 2 * 4096 / MIB + 4 * 75.4, NEXT, 4096, False, 28_609 + 397 + 358),
    (28_609, 12 * 2 * 2 * 256 * 2 * 100_096 / MIB + 4 * 75.4, NEXT, 100_096, False, 28_609 + 2647 + 601),
    (17_904, 48 * 2 * 4 * 128 * 2 * 4096 / MIB, MOE, 4096, True, 17_904 + 384 + 898),
)
"""Rows of `breakdown.csv` whose model and context are known: Qwen3-Coder-Next (12 blocks of 48 attend, the others keep
75.4 MiB of state a slot, four slots) and Qwen3-30B-A3B F16 with experts on the host. Other rows name no context."""


def breakdown_errors() -> Group:
    """Largest relative error of model + context + compute, the model's bytes as its file has them."""
    errors = []
    for model, cache, graph, context, loan, truth in BREAKDOWNS:
        buffer = compute_buffer(graph, Settings(context=context), streams=loan, era=Era.FULL_LOGITS) / MIB
        errors.append(abs((model + cache + buffer) / truth - 1))
    return {"rows": len(errors), "largest": max(errors)}
