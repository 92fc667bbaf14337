"""How far the planner is off, group by group, with the field's formulas beside it. Nothing is timed.

    python -m benchmarks.planner [--rows]

Decode errors are given three times: `shipped` (the constants of `planner/rates.py`, which were fitted to these runs),
`left out` (each device's class refitted without it: what a card that nobody ran gets) and `calibrated` (two small runs
of the device given, all its others predicted). Baselines: the constant efficiency 0.55, and llmfit's shipped formula.
The last line is one JSON object, kept in `results/planner.jsonl`.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.harness import record
from benchmarks.planner_again import again_errors
from benchmarks.planner_curves import cache_slope_errors, depth_errors, offload_errors, slope_errors
from benchmarks.planner_fit import kind_left_out, left_out, predict
from benchmarks.planner_hosts import host_errors
from benchmarks.planner_memory import breakdown_errors, buffer_errors, cache_errors
from benchmarks.planner_rows import (
    Row,
    community_rows,
    expert_rows,
    hybrid_rows,
    measured_rows,
    other_rows,
    speed_rows,
)
from pennyweight.planner.calibration import DecodeRun, fit_rates
from pennyweight.planner.footprint import family_of, place
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.planner.speed import Machine, prompt_seconds

CONSTANT = 0.55

PROMPT = {"15396": 2048}
"""Tokens of a prompt that was not of 512."""

BYTES = {"Q4_0": 0.5, "Q4_K_M": 0.5, "IQ4_XS": 0.5, "Q2_K": 0.37, "MXFP4": 0.5, "Q8_0": 1.0, "F16": 2.0}
"""llmfit's bytes a weight for speed. Source: reference 2.2, llmfit-core at 1.1.3; Q2_K's as for memory."""

Errors = list[float]


def constant(row: Row) -> float:
    """Tokens/s of the constant efficiency."""
    return CONSTANT * row.card.bandwidth / row.footprint.read


def llmfit(row: Row) -> float:
    """Tokens/s of llmfit's formula: bandwidth over rounded bytes of all weights, times 0.55."""
    return CONSTANT * row.card.bandwidth / (row.footprint.parameters_used * BYTES[row.type])


def calibrated(row: Row, rows: Sequence[Row]) -> Rates | None:
    """Rates from the device's two runs that a person would choose, beside what other devices say of its class: a small
    model, and one of middling size.

    None where the device has no two others, or the row is one of the two.
    """
    own = [other for other in rows if other.device == row.device and other.era == row.era and other.type == row.type]
    chosen = _small_and_middling(own)
    if chosen is None or row in chosen:
        return None
    runs = [
        DecodeRun(
            family=family_of(one.type),
            nbytes=one.footprint.read,
            layers=len(one.footprint.blocks),
            seconds=one.seconds,
        )
        for one in chosen
    ]
    return fit_rates(runs, left_out(row, rows))


def _small_and_middling(own: Sequence[Row]) -> tuple[Row, Row] | None:
    """Llama 3.2 1B (or the smallest) and the model nearest to 8 billion weights, dense both."""
    dense = sorted((row for row in own if not row.footprint.expert_count), key=lambda row: row.footprint.read)
    if len(dense) < 3:
        return None
    small = next((row for row in dense if row.model == "Llama-3.2-1B"), dense[0])
    middling = min(dense, key=lambda row: abs(row.footprint.parameters_used - 8e9))
    return (small, middling) if small is not middling else None


def share(value: float, truth: float) -> float:
    """Relative error, signed."""
    return value / truth - 1


def middle(errors: Iterable[float]) -> float | None:
    """Median of the absolute errors."""
    listed = [abs(error) for error in errors]
    return median(listed) if listed else None


def decode_groups(show: bool) -> dict[str, dict[str, float | int | None]]:
    """Median errors by class of card."""
    rows = [*speed_rows(), *community_rows(), *measured_rows()]
    groups: dict[str, dict[str, Errors]] = defaultdict(lambda: defaultdict(list))
    groups["all"]  # first in the table
    for row in rows:
        found = {
            "shipped": predict(row, card_rates(row.card)),
            "left out": predict(row, left_out(row, rows)),
            "constant 0.55": constant(row),
            "llmfit": llmfit(row),
        }
        own = calibrated(row, rows)
        if own is not None:
            found["calibrated"] = predict(row, own)
        for group in (row.group, "all"):
            for name, speed in found.items():
                groups[group][name].append(share(speed, row.decode))
        if show:
            words = " ".join(f"{name} {100 * share(speed, row.decode):+.0f}%" for name, speed in found.items())
            print(f"  {row.device:<24}{row.model:<16}{row.type:<8}{row.decode:>8.2f}  {words}")
    return {group: _summary(errors) for group, errors in groups.items()}


def other_models(show: bool) -> dict[str, dict[str, float | int | None]]:
    """Median errors on models that no class of card was fitted to, by device: as shipped, and with the device left out
    of what a kind of block costs more (norms after each half, biases of experts, latent attention, recurrent state)."""
    groups: dict[str, dict[str, Errors]] = defaultdict(lambda: defaultdict(list))
    groups["all"]
    rows = [*other_rows(), *expert_rows(), *hybrid_rows()]
    for row in rows:
        found = {
            "shipped": predict(row, card_rates(row.card)),
            "left out": kind_left_out(row, rows),
            "constant 0.55": constant(row),
            "llmfit": llmfit(row),
        }
        device = () if row.era == "15396" else (row.device,)
        for group in ("all", _blocks(row.model), *device):
            for name, speed in found.items():
                groups[group][name].append(share(speed, row.decode))
        if show:
            words = " ".join(f"{name} {100 * share(speed, row.decode):+.0f}%" for name, speed in found.items())
            print(f"  {row.device:<24}{row.model:<32}{row.decode:>8.2f}  {words}")
    names = ("shipped", "left out", "constant 0.55", "llmfit")
    return {
        group: {"runs": len(errors["shipped"])} | {name: middle(errors[name]) for name in names}
        for group, errors in groups.items()
    }


KINDS = {
    "gemma": "Gemma 2 and 3",
    "gpt-oss": "gpt-oss-20b, nine devices",
    "DeepSeek": "DeepSeek-V2-Lite",
    "granite": "hybrids",
    "Qwen3.5": "hybrids",
    "Nemotron": "hybrids",
    "Coder-Next": "hybrids",
}
"""Models by a part of their names, by what their blocks have beside a dense block's work."""


def _blocks(model: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in model), "plain blocks")


def _summary(errors: dict[str, Errors]) -> dict[str, float | int | None]:
    names = ("shipped", "left out", "calibrated", "constant 0.55", "llmfit")
    return {"runs": len(errors["shipped"])} | {name: middle(errors[name]) for name in names}


def prompt_groups() -> dict[str, dict[str, float | int | None]]:
    """Median errors of prompt speed by class, builds from 2025 on with flash attention (Apple's the table has)."""
    groups: dict[str, Errors] = defaultdict(list)
    for row in (*speed_rows(), *measured_rows(), *expert_rows()):
        if row.era != "2024" and row.prompt and not row.card.prompt_flops:
            machine, tokens = Machine(card=card_rates(row.card), host=card_rates(row.card)), PROMPT.get(row.era, 512)
            seconds = prompt_seconds(place(row.footprint), machine, tokens)
            name = row.group if row.era != "15396" else "gpt-oss-20b, nine devices"
            groups[name].append(share(tokens / seconds, row.prompt))
    return {group: {"runs": len(errors), "shipped": middle(errors)} for group, errors in groups.items()}


def table(title: str, rows: dict[str, dict[str, float | int | None]], target: str) -> None:
    """Groups down, errors across, in percent."""
    columns = list(next(iter(rows.values())))
    print(f"\n{title}   (target: {target})")
    print(f"  {'':<28}" + "".join(f"{name:>17}" for name in columns))
    for group, values in rows.items():
        print(f"  {group:<28}" + "".join(f"{_cell(name, values.get(name)):>17}" for name in columns))


def _cell(name: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if name in ("runs", "rows", "points") else f"{100 * value:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", action="store_true", help="print every run's errors too")
    show = parser.parse_args().rows
    memory = {"cache (exact)": cache_errors(), **buffer_errors(), "total of a breakdown": breakdown_errors()}
    table(
        "Memory, largest error", memory, "cache 0; compute 6 % with flash attention, one device; total 3 % or 300 MiB"
    )
    decode = decode_groups(show)
    table("Decode speed, median error", decode, "calibrated 10 %, card table 25 %, never worse than the constant")
    others = other_models(show)
    table("Decode speed of models that no class was fitted to, median error", others, "25 %")
    prompts = prompt_groups()
    table("Prompt speed, median error", prompts, "none was set")
    curves = {**offload_errors(), **depth_errors(), **slope_errors(), **cache_slope_errors()}
    hosts = host_errors()
    table("Decode speed with layers on a host of known bandwidth, median error", hosts, "none was set")
    again = again_errors()
    table("Runs of plan_on_card predicted anew, median error", again, "calibrated 10 %, card table 25 %")
    table("Curves, from two points or as shipped", curves, "offload: 10 % at each point from the two ends")
    worse = [group for group, values in decode.items() if (values["shipped"] or 0) > (values["constant 0.55"] or 0)]
    print(f"\ngroups where the card table is worse than the constant: {', '.join(worse) or 'none'}")
    record(
        "planner",
        {
            "memory": memory,
            "decode": decode,
            "other_models": others,
            "prompt": prompts,
            "hosts": hosts,
            "again": again,
            "curves": curves,
            "worse_than_constant": worse,
        },
    )


if __name__ == "__main__":
    main()
