"""Runs of `plan_on_card` predicted anew: by today's constants, beside what the plan said on the day.

No constant is fitted to an H100's runs, nor a calibration to any of these; an H200's with everything on the card are
among those that the card table was fitted to.
"""

import json
from collections import defaultdict
from dataclasses import replace
from statistics import median
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.planner_rows import footprint
from pennyweight.planner.calibration import CachePair, DecodeRun, fit_rates
from pennyweight.planner.card_names import find_card
from pennyweight.planner.footprint import Family, family_of, place
from pennyweight.planner.host import ASSUMED_BANDWIDTH, Host, host_rates
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.planner.speed import Machine, decode_seconds

OUTPUT = 64
"""Tokens that were generated, of which half lie before the one in the middle."""

Group = dict[str, float | int | None]


def again_errors() -> dict[str, Group]:
    """Median errors by card and by how it was run: from the card table and calibrated, then and now."""
    groups = {}
    with open(RESULTS / "plan_on_card.jsonl", encoding="utf-8") as file:
        for record in map(json.loads, file):
            groups |= _groups(record)
    return groups


def _groups(record: dict[str, Any]) -> dict[str, Group]:
    card, errors = card_rates(find_card(record["card"])), defaultdict(lambda: defaultdict(list))
    host = host_rates(Host(bandwidth=record.get("host_bandwidth") or ASSUMED_BANDWIDTH))
    table, calibrated = Machine(card=card, host=host), Machine(card=refitted(record, card), host=host)
    for row in record["rows"]:
        said = {
            "table then": row["table"],
            "table now": _speed(row, table),
            "calibrated then": row["calibrated"],
            "calibrated now": _speed(row, calibrated),
        }
        for name, speed in said.items():
            errors[_way(row)][name].append(abs(speed / row["measured"] - 1))
    name = record["card"].removeprefix("NVIDIA ").split()[0]
    return {
        f"{name}, {way}": {"runs": len(found["table now"])} | {key: median(values) for key, values in found.items()}
        for way, found in errors.items()
    }


def _way(row: dict[str, Any]) -> str:
    if row["depth"]:
        return "behind a context"
    return "all on the card" if row["gpu_layers"] < 0 else "layers on the host"


def _speed(row: dict[str, Any], machine: Machine) -> float:
    model = replace(footprint(row["model"], row["type"]), cache_family=family_of(row["cache"]))
    if row["cache"] != "f16":
        blocks = tuple(replace(block, cache_read=block.cache_read * 34 / 64) for block in model.blocks)
        model = replace(model, blocks=blocks)
    placement = place(model, None if row["gpu_layers"] < 0 else row["gpu_layers"])
    return 1 / decode_seconds(placement, machine, row["depth"] + OUTPUT / 2)


def refitted(record: dict[str, Any], prior: Rates) -> Rates:
    """What `calibrate` says today of the runs that it made then; of the cache, what it said."""
    constants = record["calibration"]
    plain = [run for run in constants["runs"] if run["name"] != "long context"]
    shallow = [run for run in constants["runs"] if run not in plain and not run["depth"] and run["cache_type"] == "f16"]
    pairs = [CachePair(shallow=one, deep=one) for one in map(_decode_run, shallow)]
    rates = fit_rates([_decode_run(run) for run in plain], prior, pairs=pairs)
    cache = {Family(name): value for name, value in constants["cache_efficiency"].items()}
    return replace(rates, cache_efficiency=tuple(cache.items()))


def _decode_run(run: dict[str, Any]) -> DecodeRun:
    seconds = 1 / run["tokens_per_second"]
    return DecodeRun(family=family_of(run["type"]), nbytes=run["bytes"], layers=run["layers"], seconds=seconds)
