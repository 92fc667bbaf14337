"""Curves: layers on the processor, and the depth of the context."""

import csv
from collections import defaultdict
from statistics import median

from benchmarks.planner_rows import DATA, Swept, swept_rows
from pennyweight.core.units import MIB
from pennyweight.planner.card_names import find_card
from pennyweight.planner.curve import through_two_points
from pennyweight.planner.footprint import BlockBytes, Family, Footprint, family_of, place, single_family
from pennyweight.planner.rates import card_rates

Group = dict[str, float | int | None]

ALL = 1 << 20
"""More layers than any model has: -1 modulo it comes last."""

README = {10: 13.45, 20: 21.36, 30: 40.04, 31: 48.19, 32: 54.78, 33: 60.62}
"""LLaMA-7B Q4_0, layers of 33 on the card → tokens/s (llama-bench's README). 34 and 35 move the cache."""


def llama_7b() -> Footprint:
    """LLaMA-7B Q4_0: 32 equal blocks and an output."""
    block = BlockBytes(weights=int(3.44 * 1024 * MIB / 32))
    return Footprint(blocks=(block,) * 32, embedding=70 * MIB, output=70 * MIB, shares=single_family(Family.LEGACY))


def offload_errors() -> dict[str, Group]:
    """Interior points of the curve from its two ends."""
    model, (first, *inner, last) = llama_7b(), README
    rates = through_two_points(place(model, first), README[first], place(model, last), README[last])
    errors = [abs(rates.tokens_per_second(place(model, n)) / README[n] - 1) for n in inner]
    return {"offload, 7B Q4_0": _group(errors), "offload, 8B on an H200": _group(_measured_offload())}


def _measured_offload() -> list[float]:
    """Our own runs of a Qwen3-8B Q4_K_M: none and all layers on an H200 are given, what lies between is predicted."""
    runs = sorted((one for one in swept_rows() if _curve(one)), key=lambda one: one.gpu_layers % ALL)
    (first, *inner, last), model = runs, runs[0].row.footprint
    rates = through_two_points(place(model, 0), first.row.decode, place(model), last.row.decode)
    return [abs(rates.tokens_per_second(place(model, n.gpu_layers)) / n.row.decode - 1) for n in inner]


def _curve(one: Swept) -> bool:
    return not one.depth and (one.row.model, one.row.type) == ("Qwen3-8B", "Q4_K_M")


def cache_slope_errors() -> dict[str, Group]:
    """Our own runs behind a context, from the card table alone: what the cache costs over none."""
    shallow = next(one.row.seconds for one in swept_rows() if _curve(one) and one.gpu_layers < 0)
    errors = defaultdict(list)
    for one in swept_rows():
        if one.depth:
            rates, family = card_rates(one.row.card), family_of(one.cache)
            read = one.row.footprint.depth_read(one.depth) * (1 if family is Family.F16 else 34 / 64)
            errors[one.cache].append(abs(rates.cache_seconds(read, family) / (one.row.seconds - shallow) - 1))
    return {f"depth, {cache} on an H200, as shipped": _group(found) for cache, found in errors.items()}


def _group(errors: list[float]) -> Group:
    return {"points": len(errors), "median": median(errors), "largest": max(errors)}


def depth_errors() -> dict[str, Group]:
    """Each curve of `depth.csv`: seconds are linear in depth, so its ends give what lies between."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with open(DATA / "depth.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            curves[row["model"]].append((float(row["depth"]), 1 / float(row["tg_tok_s"])))
    found = {}
    for model, points in curves.items():
        (start, slow), *inner, (end, fast) = points
        errors = [abs((slow + (fast - slow) * (d - start) / (end - start)) / t - 1) for d, t in inner]
        name = f"depth, {model.removesuffix(' experts on CPU')[:20]}"
        found[name] = {"points": len(errors), "median": median(errors), "largest": max(errors)}
    return found


def slope_errors() -> dict[str, Group]:
    """RTX 5080, Llama-3-8B, float16 cache: what 32,768 tokens cost, from the card table alone."""
    rates = card_rates(find_card("RTX 5080"))
    shipped = rates.cache_seconds(131_072 * 32_768, Family.F16)
    measured = 1 / 79.46 - 1 / 148.35
    return {"depth, slope as shipped": {"points": 1, "median": abs(shipped / measured - 1), "largest": None}}
