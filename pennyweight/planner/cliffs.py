"""The four places where speed falls off, told apart: each has another cause and another cure."""

from dataclasses import dataclass
from enum import StrEnum

from pennyweight.core.units import MIB, show_bytes
from pennyweight.planner.footprint import Placement, place
from pennyweight.planner.memory import Budget, MemoryPlan
from pennyweight.planner.speed import Machine, decode_seconds

PAGING_MARGIN = 300 * MIB
"""Below so much free memory Windows' driver moves pages of a card to the host: 115 MiB too much halved the speed."""

PAGING_FACTOR = 2.5
"""How much slower decoding became, with nothing to see but the link's traffic: 63.8 → 24.7 tokens/s."""

DISK_BANDWIDTH = 3e9
"""Bytes/s of weights that are read anew from a good solid-state disk."""


class CliffKind(StrEnum):
    """What makes a token slow."""

    CPU_LAYERS = "layers on the processor"
    CPU_CACHE = "the cache of layers on the processor, at long context"
    DRIVER_PAGING = "the driver pages the card's memory to the host (Windows)"
    DISK = "weights are read from the disk"
    WORKING_SET = "the GPU's share of the machine's memory is full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cliff:
    """One cliff that a plan stands on.

    Attributes:
        factor: how many times slower a token is than without it.
        words: what happens, for a person, with the cure.
    """

    kind: CliffKind
    factor: float
    words: str


def cliffs(plan: MemoryPlan, machine: Machine, budget: Budget, depth: float = 0.0) -> tuple[Cliff, ...]:
    """The cliffs of this plan at that depth of context, the worst first; empty where all is well."""
    found = [_layers(plan, machine), _cache(plan, machine, depth), _paging(plan, budget), _disk(plan, machine)]
    found.append(_working_set(plan, budget))
    return tuple(sorted((cliff for cliff in found if cliff), key=lambda cliff: -cliff.factor))


def _resident(placement: Placement) -> Placement:
    return place(placement.footprint)


def _layers(plan: MemoryPlan, machine: Machine) -> Cliff | None:
    placement = plan.placement
    if machine.card is None or placement.whole:
        return None
    factor = decode_seconds(placement, machine) / decode_seconds(_resident(placement), machine)
    left, lent = len(placement.on_host), len(placement.expert_blocks_on_host)
    what = f"{left} of {len(placement.footprint.blocks)} blocks" if left else f"the experts of {lent} blocks"
    return Cliff(
        kind=CliffKind.CPU_LAYERS,
        factor=factor,
        words=f"{what} run on the processor, {show_bytes(placement.host_read)} of each token through host memory; "
        "a smaller type, context or cache type brings them back",
    )


def _cache(plan: MemoryPlan, machine: Machine, depth: float) -> Cliff | None:
    """Named where the host's cache costs more than its weights do, the part that a longer context makes worse."""
    placement = plan.placement
    if machine.card is None or not placement.on_host or depth <= 0:
        return None
    shallow, deep = decode_seconds(placement, machine), decode_seconds(placement, machine, depth)
    resident = decode_seconds(_resident(placement), machine, depth) - decode_seconds(_resident(placement), machine)
    if deep - shallow < 2 * resident or deep < 1.1 * shallow:
        return None
    return Cliff(
        kind=CliffKind.CPU_CACHE,
        factor=deep / (shallow + resident),
        words=f"after {depth:,.0f} tokens the processor reads the cache of {len(placement.on_host)} blocks for each "
        "token; a shorter context, or all blocks on the card",
    )


def _paging(plan: MemoryPlan, budget: Budget) -> Cliff | None:
    if not budget.host.windows or budget.unified or not budget.cards or plan.spare >= PAGING_MARGIN:
        return None
    return Cliff(
        kind=CliffKind.DRIVER_PAGING,
        factor=PAGING_FACTOR,
        words=f"{show_bytes(max(plan.spare, 0))} of the card stay free; below {show_bytes(PAGING_MARGIN)} the driver "
        "pages and says nothing; set `CUDA - Sysmem Fallback Policy` to `Prefer No Sysmem Fallback`, or plan for less",
    )


def _disk(plan: MemoryPlan, machine: Machine) -> Cliff | None:
    if plan.host_short <= 0:
        return None
    seconds = decode_seconds(plan.placement, machine)
    share = min(plan.host_short / max(plan.host_weights.value, 1), 1.0)
    return Cliff(
        kind=CliffKind.DISK,
        factor=(seconds + share * plan.placement.host_read / DISK_BANDWIDTH) / seconds,
        words=f"host memory lacks {show_bytes(plan.host_short)}: that much is read from the disk again and again",
    )


def _working_set(plan: MemoryPlan, budget: Budget) -> Cliff | None:
    if not budget.unified or plan.spare >= 0:
        return None
    return Cliff(
        kind=CliffKind.WORKING_SET,
        factor=float("inf"),
        words=f"{show_bytes(-plan.spare)} more than the GPU may use of this machine's memory: it does not run",
    )
