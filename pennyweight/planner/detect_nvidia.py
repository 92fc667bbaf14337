"""NVIDIA's cards through nvidia-ml-py: name, memory, what is used of it, bandwidth, link."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pennyweight.core.errors import PennyweightError
from pennyweight.core.units import GIB, MIB
from pennyweight.planner.card_names import find_card
from pennyweight.planner.cards import Card, custom
from pennyweight.planner.found import FoundCard
from pennyweight.planner.probe import Probe

ARCHITECTURES = {4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada", 9: "Hopper", 10: "Blackwell"}
"""nvmlDeviceGetArchitecture's numbers. Source: nvml.h NVML_DEVICE_ARCH_*."""

MEMORY_CLOCK = 2
"""nvml.h NVML_CLOCK_MEM."""

SANE_MEMORY = range(256 * MIB, 1024 * GIB)


def nvidia_cards(probe: Probe) -> Iterator[FoundCard]:
    """Every card that the driver shows and whose figures can be; nothing where there is no driver."""
    nvml = probe.nvml()
    if nvml is None:
        return
    for index in range(_number(nvml.nvmlDeviceGetCount) or 0):
        handle = _ask(nvml.nvmlDeviceGetHandleByIndex, index)
        found = _card(nvml, handle) if handle is not None else None
        if found:
            yield found


def _card(nvml: Any, handle: Any) -> FoundCard | None:
    name = _ask(nvml.nvmlDeviceGetName, handle)
    name = name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
    memory = _ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    total, used = getattr(memory, "total", None), getattr(memory, "used", None)
    total = total if isinstance(total, int) and total in SANE_MEMORY else 0
    card = _known(name, total) or _described(nvml, handle, name, total)
    if card is None:
        return None
    card = replace(card, **_link(nvml, handle))
    if card.unified:
        return FoundCard(card=card, used_bytes=0)
    if not total:
        return FoundCard(card=card, used_bytes=0, note=f"{name}: the driver does not say its memory; the table's")
    sized = replace(card, memory_bytes=total)
    if isinstance(used, int) and 0 <= used <= total:
        return FoundCard(card=sized, used_bytes=used, measured=True)
    return FoundCard(card=sized, note=f"{name}: the driver does not say what is used of its memory")


def _known(name: str, total: int) -> Card | None:
    """The table's card of that name, of variants the one whose memory is nearest."""
    sized = f"{name} {round(total / GIB)}GB" if total else name
    for text in (sized, name):
        try:
            return find_card(text)
        except PennyweightError:
            continue
    return None


def _described(nvml: Any, handle: Any, name: str, total: int) -> Card | None:
    """A card that the table has not: two transfers of the bus for each tick of the memory's clock."""
    clock = _number(nvml.nvmlDeviceGetMaxClockInfo, handle, MEMORY_CLOCK) or 0
    bits = _number(nvml.nvmlDeviceGetMemoryBusWidth, handle) or 0
    bandwidth = clock * 1e6 * 2 * bits / 8
    if not total or not 1e10 <= bandwidth <= 2e13:
        return None
    architecture = ARCHITECTURES.get(_number(nvml.nvmlDeviceGetArchitecture, handle) or 0, "")
    made = custom(total, bandwidth, name or "an NVIDIA card")
    said = "memory clock and bus of its driver"
    return replace(made, vendor="NVIDIA", architecture=architecture, source=said, bandwidth_source=said)


def _link(nvml: Any, handle: Any) -> dict[str, int]:
    """Generation and width of the link as it is now, where they can be: a slot may be narrower than the card."""
    generation = _number(nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)
    width = _number(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle)
    if generation in range(1, 8) and width in (1, 2, 4, 8, 12, 16, 32):
        return {"pcie_generation": int(generation or 0), "pcie_lanes": int(width or 0)}
    return {}


def _ask(function: Callable[..., Any], *arguments: Any) -> Any | None:
    try:
        return function(*arguments)
    except Exception:  # noqa: BLE001 - the library raises its own errors, and whatever its driver does
        return None


def _number(function: Callable[..., Any], *arguments: Any) -> int | None:
    value = _ask(function, *arguments)
    return value if isinstance(value, int) and value >= 0 else None
