"""What is said where a context or a model does not fit: what it takes, what is there, and what would fit."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.core.units import show_bytes
from pennyweight.planner.memory import MemoryPlan

if TYPE_CHECKING:
    from pennyweight.jobs.fit import Fit

SMALLER_TYPES = ("q8_0", "q4_0")
"""Cache types to propose, the better first."""

SOME_TOKENS = 1024


def beyond_training(fit: "Fit", ctx: int) -> DoesNotFit:
    """For a context longer than the model was trained for."""
    if fit.splits:
        otherwise = "without -c a longer paper is read part by part"
    else:
        otherwise = f"without -c it takes {_option(fit, fit.usual_context)}"
    return DoesNotFit(
        f"{fit.model} was trained for {fit.trained:,} tokens of context, {ctx:,} were asked for{_each(fit)}; "
        f"(1) {_option(fit, fit.trained)} takes all it has, (2) {otherwise}, (3) take a model that was trained for more"
    )


def too_little_room(fit: "Fit", ctx: int) -> DoesNotFit:
    """For a context that memory is too short for, with three changes, each of which makes it fit."""
    plan = fit.memory(ctx)
    assert plan is not None
    wanted, cache = plan.host_total.value + plan.card_total.value, plan.card_cache.value + plan.host_cache.value
    listed = ", ".join(f"({number}) {words}" for number, words in enumerate(_changes(fit, ctx), 1))
    return DoesNotFit(
        f"{fit.model} with a context of {ctx:,} tokens{_each(fit)} takes {show_bytes(wanted)}, of it the cache "
        f"{show_bytes(cache)}, and does not fit: {_there(fit)}; what would fit: {listed}"
    )


def model_too_large(fit: "Fit", least: int) -> DoesNotFit:
    """For weights that memory is too short for, even with a context of `least` tokens."""
    plan = fit.memory(least)
    assert plan is not None
    weights = plan.host_weights.value + plan.card_weights.value
    return DoesNotFit(
        f"{fit.model}: its weights take {show_bytes(weights)} and do not fit: "
        f"{_there(fit)}; (1) quantize it further, (2) take a smaller model, (3) close what else holds memory"
    )


def _changes(fit: "Fit", ctx: int) -> Iterator[str]:
    largest = fit.largest_context()
    yield _option(fit, largest)
    yield _smaller_cache(fit, ctx, largest) or f"a machine with {show_bytes(_lacking(fit, ctx))} more memory"
    if fit.splits:
        yield "no -c: a paper that is longer than what fits is read part by part"
    elif slots := next((n for n in range(fit.slots - 1, 0, -1) if replace(fit, slots=n).has_room(ctx)), 0):
        yield f"-np {slots} with {_option(replace(fit, slots=slots), ctx)}"
    else:
        yield f"no -c: {_option(fit, min(fit.usual_context, largest))}"


def _smaller_cache(fit: "Fit", ctx: int, largest: int) -> str | None:
    """Cache types with which it fits, or at least more than `largest` does."""
    for name in SMALLER_TYPES:
        if _is_smaller(fit, name) and fit.has_room(ctx, replace(fit.options, type_k=name, type_v=name)):
            return f"-ctk {name} -ctv {name}, which rounds the cache"
    best = replace(fit.options, type_k="q8_0", type_v="q8_0")
    if _is_smaller(fit, "q8_0") and (room := fit.largest_context(best)) > largest:
        return f"-ctk q8_0 -ctv q8_0 with {_option(fit, room)}"
    return None


def _is_smaller(fit: "Fit", cache_type: str) -> bool:
    """Whether a cache of this type is smaller, and one that this model's heads can take."""
    try:
        less = fit.memory(SOME_TOKENS, replace(fit.options, type_k=cache_type, type_v=cache_type))
    except BadRequest:
        return False
    now = fit.memory(SOME_TOKENS)
    return less is not None and now is not None and _cache(less) < _cache(now)


def _lacking(fit: "Fit", ctx: int) -> float:
    plan = fit.memory(ctx)
    assert plan is not None
    return max(plan.host_short, -plan.spare if fit.budget.cards else 0)


def _option(fit: "Fit", ctx: int) -> str:
    """`-c` as it is to be typed: the context of all slots together."""
    return f"-c {ctx * fit.slots}"


def _each(fit: "Fit") -> str:
    return f" for each of {fit.slots} slots" if fit.slots > 1 else ""


def _there(fit: "Fit") -> str:
    host = show_bytes(fit.budget.host.available_bytes or fit.budget.host.memory_bytes)
    cards = ", ".join(
        f"{show_bytes(card.usable_bytes - fit.budget.used_bytes)} on {card.name}" for card in fit.budget.cards
    )
    return f"{cards + ' and ' if cards else ''}{host} of memory are free"


def _cache(plan: MemoryPlan) -> float:
    return plan.card_cache.value + plan.host_cache.value
