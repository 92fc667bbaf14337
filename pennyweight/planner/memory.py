"""Memory by purpose: weights, cache, compute buffer, overhead, on cards and host, each with its basis; and what fits.

card   = weights + cache + compute buffer + overhead          overhead: the driver's context and what it keeps
host   = weights left + embedding + cache left + inputs of the graph
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pennyweight.core.units import MIB
from pennyweight.planner.cards import Card
from pennyweight.planner.compute_buffer import Era, GraphShape, compute_buffer
from pennyweight.planner.footprint import Footprint, Placement, place
from pennyweight.planner.host import RESERVED_BYTES, Host
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.planner.request import Settings

CONTEXT_OVERHEAD = {
    "NVIDIA": (600, 450, 750),
    "AMD": (450, 250, 750),
    "Intel": (450, 250, 750),
    "Apple": (150, 50, 300),
}
"""MiB of a driver's context, libraries and fragments on a card without a screen: middle, low, high. NVIDIA's: 450 to
750 headless (reference 0, point 3; 453 a card in llama.cpp PR 15860); the others lie beside it, unmeasured."""

UNKNOWN_OVERHEAD = (600, 250, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What there is.

    Attributes:
        cards: that share the model; empty for the processor alone.
        host: the machine around them.
        used_bytes: of each card, taken before anything of ours (measured, or what is asked to be left: a margin).
        measured: whether `used_bytes` was read from the driver.
    """

    cards: tuple[Card, ...]
    host: Host
    used_bytes: int = 0
    measured: bool = False

    @property
    def unified(self) -> bool:
        """Whether card and host are one memory."""
        return bool(self.cards) and all(card.unified for card in self.cards)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes by purpose, and whether they fit. Sums over all cards.

    Attributes:
        placement: what lies where.
        card_total, host_total: of everything.
        card_budget: what the cards offer.
        fits: cards and host have room.
        host_short: bytes that host memory lacks; weights would be read from the disk.
    """

    placement: Placement
    card_weights: Quantity
    card_cache: Quantity
    compute: Quantity
    overhead: Quantity
    card_total: Quantity
    card_budget: int
    host_weights: Quantity
    host_cache: Quantity
    host_compute: Quantity
    host_total: Quantity
    host_short: int
    fits: bool

    @property
    def spare(self) -> float:
        """Bytes that stay free on the cards; negative where they lack."""
        return self.card_budget - self.card_total.value


def plan_memory(
    placement: Placement, graph: GraphShape, settings: Settings, budget: Budget, era: Era = Era.KEPT_LOGITS
) -> MemoryPlan:
    """Memory of one placement."""
    cards = max(len(budget.cards), 1)
    buffer = compute_buffer(graph, settings, cards=cards, streams=_streams(placement, budget), era=era)
    on_card = bool(budget.cards) and placement.gpu_layers > 0
    compute = _compute(buffer * cards if on_card else 0, era)
    overhead = _overhead(budget) if on_card else _exact(0, "no card is used")
    weights, cache = placement.card_weights, placement.card_cache
    card_total = _sum(weights + cache, (compute, overhead))
    host_compute = _compute(0 if budget.unified else _host_buffer(graph, settings, buffer, on_card), era)
    host_weights = _host_weights(placement, budget)
    host_total = _sum(host_weights + placement.host_cache, (host_compute,))
    short = _host_short(host_total.value + (card_total.value if budget.unified else 0), budget)
    return MemoryPlan(
        placement=placement,
        card_weights=_exact(weights, "sum of the tensors on the card"),
        card_cache=_exact(cache, "cells × widths × bytes of the cache's type"),
        compute=compute,
        overhead=overhead,
        card_total=card_total,
        card_budget=_offered(budget),
        host_weights=_exact(host_weights, "sum of the tensors on the host"),
        host_cache=_exact(placement.host_cache, "cells × widths × bytes of the cache's type"),
        host_compute=host_compute,
        host_total=host_total,
        host_short=short,
        fits=_fits_cards(placement, compute.value / cards, overhead.value / cards, budget) and not short,
    )


def fit_memory(
    footprint: Footprint,
    graph: GraphShape,
    settings: Settings,
    budget: Budget,
    era: Era = Era.KEPT_LOGITS,
    *,
    lends_experts: bool = True,
) -> MemoryPlan:
    """The most of a model that the cards take, or what `settings` ask for; `fits` says whether that is enough.

    Of an expert model experts go to the host first, as llama.cpp's own fit has it: the rest is read by every token.
    Without `lends_experts` only whole layers do.
    Raises: BadRequest for negative counts.
    """

    def plan(gpu_layers: int, cpu_moe_layers: int) -> MemoryPlan:
        return plan_memory(place(footprint, gpu_layers, cpu_moe_layers), graph, settings, budget, era)

    layers = footprint.layers if settings.gpu_layers is None else min(settings.gpu_layers, footprint.layers)
    if not budget.cards:
        return plan(0, 0)
    if settings.gpu_layers is not None or settings.cpu_moe_layers:
        return plan(layers, settings.cpu_moe_layers)
    moe = len(footprint.blocks) if footprint.expert_count and lends_experts else 0
    candidates = [(layers, lent) for lent in range(moe + 1)] + [(n, moe) for n in range(layers - 1, -1, -1)]
    first = _first_that_fits([lambda c=c: plan(*c) for c in candidates])
    return first or plan(*candidates[-1])


def _first_that_fits(plans: Sequence[Callable[[], MemoryPlan]]) -> MemoryPlan | None:
    """By halving: what is asked of the card falls along the list."""
    low, high, found = 0, len(plans) - 1, None
    while low <= high:
        middle = (low + high) // 2
        made = plans[middle]()
        if _on_cards(made):
            found, high = made, middle - 1
        else:
            low = middle + 1
    return found


def _on_cards(made: MemoryPlan) -> bool:
    return made.fits or (made.host_short > 0 and made.spare >= 0)


def _fits_cards(placement: Placement, compute: float, overhead: float, budget: Budget) -> bool:
    """Whether whole blocks can be dealt to the cards in turn; llama.cpp cuts between blocks, never through one."""
    if not budget.cards:
        return True
    rooms = [card.usable_bytes - budget.used_bytes - compute - overhead for card in budget.cards]
    lent = placement.expert_blocks_on_host
    parts = [
        placement.footprint.blocks[i].weights
        + placement.footprint.blocks[i].cache
        + (0 if i in lent else placement.footprint.blocks[i].experts)
        for i in placement.card_blocks
    ]
    parts += [placement.footprint.output] * placement.output_on_card
    card = 0
    for part in parts:
        while card < len(rooms) and rooms[card] < part:
            card += 1
        if card == len(rooms):
            return False
        rooms[card] -= part
    return not parts or min(rooms[: card + 1]) >= 0


def _streams(placement: Placement, budget: Budget) -> bool:
    """Whether prompts bring weights of the host to a card of its own memory."""
    return bool(budget.cards) and not budget.unified and placement.gpu_layers > 0 and not placement.whole


def _host_buffer(graph: GraphShape, settings: Settings, buffer: int, on_card: bool) -> int:
    """With a card the inputs of the graph (mask, embeddings), from which they are copied; without, the whole graph."""
    if not on_card:
        return buffer
    tokens = min(settings.micro_batch, settings.context * settings.slots)
    return 4 * tokens * (settings.context + graph.width)


def _host_weights(placement: Placement, budget: Budget) -> int:
    """In a memory that is one, an embedding that is also the output is there once."""
    once = budget.unified and placement.output_on_card and placement.footprint.tied
    return placement.host_weights - once * placement.footprint.embedding


def _host_short(wanted: float, budget: Budget) -> int:
    """Bytes that host memory lacks; 0 where nothing is known of it."""
    available = budget.host.available_bytes or budget.host.memory_bytes - RESERVED_BYTES
    return max(int(wanted - available), 0) if budget.host.memory_bytes else 0


def _offered(budget: Budget) -> int:
    return sum(card.usable_bytes - budget.used_bytes for card in budget.cards)


def _overhead(budget: Budget) -> Quantity:
    middle, low, high = (
        sum(CONTEXT_OVERHEAD.get(card.vendor, UNKNOWN_OVERHEAD)[i] * MIB for card in budget.cards) for i in range(3)
    )
    return Quantity(
        value=middle,
        basis=Basis.HEURISTIC,
        source="the driver's context on a card without a screen, as logs have it",
        low=low,
        high=high,
    )


def _compute(nbytes: int, era: Era) -> Quantity:
    return Quantity(
        value=nbytes,
        basis=Basis.HEURISTIC,
        source=f"closed form; llama.cpp {era}",
        low=nbytes * 0.9,
        high=nbytes * 1.15,
    )


def _exact(nbytes: int, source: str) -> Quantity:
    return Quantity(value=nbytes, basis=Basis.EXACT, source=source, low=nbytes, high=nbytes)


def _sum(exact: int, others: tuple[Quantity, ...]) -> Quantity:
    return Quantity(
        value=exact + sum(q.value for q in others),
        basis=Basis.HEURISTIC if any(q.value for q in others) else Basis.EXACT,
        source="the sum of its parts",
        low=exact + sum(q.value if q.low is None else q.low for q in others),
        high=exact + sum(q.value if q.high is None else q.high for q in others),
    )
