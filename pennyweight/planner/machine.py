"""Cards and host → the constants that seconds are computed with, several cards as the one they amount to."""

from dataclasses import replace

from pennyweight.planner.cards import Card
from pennyweight.planner.host import host_rates
from pennyweight.planner.memory import Budget
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.planner.speed import Machine


def machine_of(budget: Budget, card: Rates | None = None, host: Rates | None = None) -> Machine:
    """What runs a model within `budget`; `card` and `host` are calibrated constants, where there are some."""
    link = min((one.link_bandwidth for one in budget.cards), default=float("inf"))
    return Machine(
        card=(card or _together(budget.cards)) if budget.cards else None,
        host=host or host_rates(budget.host),
        link_bandwidth=link,
    )


def _together(cards: tuple[Card, ...]) -> Rates:
    """Cards that share a model by layers work one after the other: each reads its part, by its memory, at its rate."""
    rates = [card_rates(card) for card in cards]
    if len(set(rates)) == 1:
        return rates[0]
    total = sum(card.usable_bytes for card in cards)
    parts = [card.usable_bytes / total for card in cards]
    slowest = max(rates, key=lambda one: one.seconds_per_layer)
    return replace(
        slowest,
        bandwidth=1 / sum(part / one.bandwidth for part, one in zip(parts, rates, strict=True)),
        prompt_flops=1 / sum(part / one.prompt_flops for part, one in zip(parts, rates, strict=True)),
        source="; ".join(dict.fromkeys(one.source for one in rates)),
    )
