"""A Mac's chip: name, GPU cores and memory from sysctl and system_profiler."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from pennyweight.core.errors import PennyweightError
from pennyweight.core.units import GIB, MIB
from pennyweight.planner.card_names import find_card
from pennyweight.planner.found import FoundCard
from pennyweight.planner.probe import Probe, whole_number


def apple_cards(probe: Probe) -> Iterator[FoundCard]:
    """The chip's GPU; nothing on another machine."""
    brand = probe.run(("sysctl", "-n", "machdep.cpu.brand_string"))
    chip = re.search(r"Apple (M\d+(?: (?:Pro|Max|Ultra))?)", brand or "")
    memory = whole_number(probe.run(("sysctl", "-n", "hw.memsize")))
    if not chip or not memory or not GIB <= memory <= 4096 * GIB:
        return
    cores = _cores(probe)
    gib = round(memory / GIB)
    for text in ([f"{chip[1]} {cores}c {gib}GB"] if cores else []) + [f"{chip[1]} {gib}GB"]:
        try:
            card = find_card(text)
        except PennyweightError:
            continue
        limit = whole_number(probe.run(("sysctl", "-n", "iogpu.wired_limit_mb"))) or 0
        if 0 < limit * MIB <= memory:  # the user raised or lowered what the GPU may take
            card = replace(card, shared=limit * MIB / card.memory_bytes)
        yield FoundCard(card=card, note=card.note)
        return


def _cores(probe: Probe) -> int | None:
    answer = probe.run(("system_profiler", "SPDisplaysDataType", "-json"))
    try:
        displays = json.loads(answer or "{}")["SPDisplaysDataType"]
        return next((n for d in displays if (n := whole_number(d.get("sppci_cores")))), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
