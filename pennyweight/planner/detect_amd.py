"""AMD's cards: memory and link from the kernel's files, the name from amd-smi or rocm-smi where they are installed."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pennyweight.core.errors import PennyweightError
from pennyweight.core.units import GIB, MIB
from pennyweight.planner.card_names import find_card
from pennyweight.planner.cards import Card
from pennyweight.planner.found import FoundCard
from pennyweight.planner.probe import Probe

AMD_VENDOR = "0x1002"

MOST_DEVICES = 32

SPEEDS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""GT/s of a lane → generation of the link."""


def amd_cards(probe: Probe) -> Iterator[FoundCard]:
    """Every AMD GPU that the kernel shows, with its name where a tool gives one."""
    names = _names(probe)
    devices = [f"/sys/class/drm/card{i}/device" for i in range(MOST_DEVICES)]
    amd = [device for device in devices if probe.read(f"{device}/vendor") == AMD_VENDOR]
    for index, device in enumerate(amd):
        name = probe.read(f"{device}/product_name") or (names[index] if index < len(names) else "")
        total = probe.number(f"{device}/mem_info_vram_total") or 0
        used = probe.number(f"{device}/mem_info_vram_used")
        card = _card(name, total)
        if card is None:
            continue
        card = replace(card, **_link(probe, device)) if not card.unified else card
        valid = used is not None and used <= total and not card.unified
        yield FoundCard(card=card, used_bytes=used if valid and used else 0, measured=valid, note=card.note)


def _card(name: str, total: int) -> Card | None:
    if not name or not 256 * MIB <= total <= 1024 * GIB:
        return None
    # The kernel lists two cards of one chip as `Radeon RX 7900 XT/7900 XTX`: memory tells which.
    for part in re.sub(r"^.*\[(.+?)\].*$", r"\1", name).split("/"):
        for text in (f"{part} {round(total / GIB)}GB", part):
            try:
                card = find_card(text)
            except PennyweightError:
                continue
            if card.unified or abs(card.memory_bytes - total) < GIB:
                return card if card.unified else replace(card, memory_bytes=total)
    return None


def _names(probe: Probe) -> list[str]:
    for command, keys in (
        (("amd-smi", "static", "--asic", "--json"), ("market_name",)),
        (("rocm-smi", "--showproductname", "--json"), ("Card Series", "Card series", "Card SKU")),
    ):
        answer = probe.run(command)
        found = list(_values(_parsed(answer), keys)) if answer else []
        if found:
            return found
    return []


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _values(tree: Any, keys: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """Values of the first key that each object has, in order; the tools' layouts change from version to version."""
    if depth > 8:
        return
    if isinstance(tree, dict):
        own = next((tree[key] for key in keys if isinstance(tree.get(key), str)), None)
        if own is not None:
            yield own
        else:
            for value in tree.values():
                yield from _values(value, keys, depth + 1)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value, keys, depth + 1)


def _link(probe: Probe, device: str) -> dict[str, int]:
    speed = re.match(r"(\d+\.\d) GT/s", probe.read(f"{device}/max_link_speed") or "")
    width = probe.number(f"{device}/current_link_width")
    generation = SPEEDS.get(speed[1]) if speed else None
    if generation and width in (1, 2, 4, 8, 16):
        return {"pcie_generation": generation, "pcie_lanes": int(width or 0)}
    return {}
