"""Nothing fits: what would have to change, each answer planned like any other choice."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pennyweight.core.units import show_bytes, show_rate
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.decide import Evaluate
from pennyweight.planner.estimate import READING
from pennyweight.planner.ladder import Option, Rule, Wish, preferences

CONTEXT_STEP, LEAST_CONTEXT = 1024, 2048

LEAST_BYTES = 0.5
"""On the card for each weight, at 4 bits and without an embedding that is only looked up: gpt-oss-120b has 0.54, and no
published model less. What cannot fit by that is not planned."""

MUCH_LARGER = 1.5
"""Times the weights of the nearest relation, from which on another family's model is worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing to change: `weights`, `bounds`, `context`, `cache`, `model` or `offload`; the sentence says it."""

    kind: str
    sentence: str
    candidate: Candidate


def changes(
    options: Sequence[Option], wish: Wish, evaluate: Evaluate, others: Sequence[Option] = ()
) -> tuple[Change, ...]:
    """What would make it fit, each kind at most once: a smaller context, a smaller cache, another model, the host.

    Args:
        others: published models that were not asked for, among which the next smaller one is looked up.
    """
    best = _smallest_four_bit(options, wish)
    found: tuple[Change | None, ...] = (
        _smaller_context(best, evaluate),
        _smaller_cache(best, wish, evaluate),
        _next_model(best, wish, evaluate, options, others),
        _offload(options, wish, evaluate),
    )
    if not any(found[:2]):
        found = (_weights_alone(best, evaluate), *found)
    return tuple(change for change in found if change)


def better_than_few_bits(
    options: Sequence[Option], wish: Wish, evaluate: Evaluate, others: Sequence[Option]
) -> tuple[str, ...]:
    """Where only 3 bits and fewer fit: what keeps 4, a smaller model or a part on the host."""
    best = _smallest_four_bit(options, wish)
    found = (_next_model(best, wish, evaluate, options, others), _offload(options, wish, evaluate))
    return tuple(f"Better than so few bits, {change.sentence}." for change in found if change)


def _weights_alone(choice: Choice, evaluate: Evaluate) -> Change | None:
    """Why neither context nor cache help: the weights are too many as they are, or may be."""
    candidate = evaluate(choice)
    room = candidate.memory_bytes - candidate.overhead_bytes.value
    if candidate.may_fit:
        least = show_bytes(candidate.total_bytes.low or 0)
        said = f"its bounds: {_name(candidate)} fits if it takes {least}, the least it can; a GGUF or its headers tell"
        return Change(kind="bounds", sentence=said, candidate=candidate)
    if candidate.card_weights_bytes <= room:
        return None
    said = (
        f"no context or cache type helps: {_name(candidate)} has {show_bytes(candidate.card_weights_bytes)} of weights "
        f"for {show_bytes(max(room, 0))}"
    )
    return Change(kind="weights", sentence=said, candidate=candidate)


def _smallest_four_bit(options: Sequence[Option], wish: Wish) -> Choice:
    """The last choice of 4 bits and more in the list that keeps the first cache; else the very last."""
    listed = list(preferences(options, wish))
    smallest = min(options, key=lambda option: option.weights).model
    own = [p for p in listed if p.choice.model == smallest]
    first = wish.caches[0]
    plain = [p for p in own if p.rule not in (Rule.EMERGENCY, Rule.EXPERTS_ON_HOST)]
    kept = [p for p in plain if (p.choice.key_type, p.choice.value_type) == first]
    return (kept or own)[-1].choice


def _smaller_context(choice: Choice, evaluate: Evaluate) -> Change | None:
    """The longest context, in steps of 1,024 tokens, at which `choice` fits; by halving, as the cache only grows."""
    low, high = LEAST_CONTEXT // CONTEXT_STEP, choice.context // CONTEXT_STEP
    if high <= low or not evaluate(replace(choice, context=LEAST_CONTEXT)).fits:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if evaluate(replace(choice, context=middle * CONTEXT_STEP)).fits else (low, middle)
    candidate = evaluate(replace(choice, context=low * CONTEXT_STEP))
    tokens = low * CONTEXT_STEP
    said = f"a context of {tokens:,} tokens (`-c {_short_tokens(tokens)}`): {_name(candidate)} fits then"
    return Change(kind="context", sentence=said, candidate=candidate)


def _smaller_cache(choice: Choice, wish: Wish, evaluate: Evaluate) -> Change | None:
    """A cache of fewer bits than was asked for."""
    for name in ("Q8_0", "Q4_0"):
        if (name, name) in wish.caches:
            continue  # tried already
        candidate = evaluate(replace(choice, key_type=name, value_type=name))
        if candidate.fits:
            flags = f"-ctk {name.lower()} -ctv {name.lower()}"
            return Change(
                kind="cache", sentence=f"a {name} cache (`{flags}`): {_name(candidate)} fits then", candidate=candidate
            )
    return None


def _next_model(
    choice: Choice, wish: Wish, evaluate: Evaluate, options: Sequence[Option], others: Sequence[Option]
) -> Change | None:
    """The nearest relation that is smaller and whose Q4_K_M fits; and a much larger one of another family."""
    least = min(option.weights for option in options)
    smaller = [option for option in others if option.weights < least]
    nearest = sorted(smaller, key=lambda o: (_kinship(o.model, choice.model), o.weights), reverse=True)
    largest = sorted(smaller, key=lambda o: round(o.weights / 1e9), reverse=True)  # of one size, the first listed
    room = evaluate(choice).memory_bytes
    near = _first_that_fits(nearest, wish, evaluate, room)
    if near is None:
        return None
    said = f"the next smaller model: {_name(near)} fits"
    large = _first_that_fits(largest, wish, evaluate, room)
    if large and large.weights > MUCH_LARGER * near.weights:
        said += f"; of other families {_name(large)} is larger and fits"
    return Change(kind="model", sentence=said, candidate=near)


def _first_that_fits(options: Sequence[Option], wish: Wish, evaluate: Evaluate, room: float) -> Candidate | None:
    """The first of them that fits at 4 bits, with the first cache; none is looked at that cannot fit `room` bytes."""
    key_type, value_type = wish.caches[0]
    for option in (option for option in options if option.weights * LEAST_BYTES <= room):
        name = "Q4_K_M" if "Q4_K_M" in option.types else option.types[0]  # gpt-oss is published in one type
        picked = Choice(model=option.model, type=name, key_type=key_type, value_type=value_type, context=wish.context)
        candidate = evaluate(picked)
        if candidate.fits:
            return candidate
    return None


def _offload(options: Sequence[Option], wish: Wish, evaluate: Evaluate) -> Change | None:
    """Part of the smallest model on the host, at 4 bits, with the speed that leaves."""
    choice = _smallest_four_bit(options, wish)
    candidate = evaluate(choice)
    if candidate.fits or candidate.decode_tok_s.value <= 0:
        return None
    where = f"{candidate.layers_on_gpu} of {candidate.layers} layers on the card"
    if candidate.settings.cpu_moe_layers:
        where = f"the experts of {candidate.settings.cpu_moe_layers} blocks on the host"
    speed = f"{show_rate(candidate.decode_tok_s.value)} tokens/s"
    if candidate.decode_tok_s.value / max(candidate.settings.slots, 1) < READING:
        speed += f", slower than people read (about {READING:.0f})"
    host = f", {show_bytes(candidate.host_bytes)} in host memory" if candidate.host_bytes else ""
    said = f"partial offload: {_name(candidate)} with {where}{host} decodes at about {speed}"
    return Change(kind="offload", sentence=said, candidate=candidate)


def _kinship(one: str, other: str) -> int:
    """How many parts, from the first, two names share: 3 for `Llama-3.1-8B` and `Llama-3.1-70B`, 2 for `Llama-3.3`."""
    pairs = list(zip(_parts(one), _parts(other), strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def _parts(name: str) -> list[str]:
    """`Qwen3-8B` counts as version 3.0, so that it is nearer to Qwen3-4B than to Qwen3.5-4B."""
    return re.sub(r"^([a-z]+\d+)-", r"\1.0-", name.lower()).replace(".", "-").split("-")


def _name(candidate: Candidate) -> str:
    return f"{candidate.choice.model} {candidate.choice.type}"


def _short_tokens(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens % 1024 == 0 else str(tokens)
