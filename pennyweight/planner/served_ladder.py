"""The order in which a server's choices are preferred; as in `ladder`, the first that fits is chosen.

For each model, the largest first: where the work is accuracy-sensitive BF16, then FP8 on a card that computes it; AWQ
(GPTQ takes the same bytes); AWQ with an FP8 cache, where the requests are what does not fit. FP8 also where many
requests run at once, since arithmetic binds there and FP8 has twice as much of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pennyweight.core.units import show_bytes
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.decide import Decision, Evaluate
from pennyweight.planner.ladder import Option, Rule
from pennyweight.planner.served_types import get

MANY_REQUESTS = 16
"""From so many at once a step is bound by arithmetic on current cards, no longer by reading weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedWish:
    """What was asked for.

    Attributes:
        context: `--max-model-len`. requests: at once. accurate: more bits are worth their room.
        fp8: the card computes FP8. cache: `auto` or `fp8` where the operator named it.
        types: that the operator named; empty for all.
        datacenter: throughput is what the card is for.
    """

    context: int
    requests: int
    accurate: bool
    fp8: bool
    cache: str | None = None
    types: tuple[str, ...] = ()
    datacenter: bool = False


def decide_served(options: Sequence[Option], wish: ServedWish, evaluate: Evaluate) -> Decision:
    """Choose what to serve."""
    for rule, choice in _preferences(options, wish):
        candidate = evaluate(choice)
        if candidate.fits:
            return Decision(chosen=candidate, rule=rule, reasons=tuple(_reasons(candidate, options, wish, evaluate)))
    return Decision(chosen=None, rule=None, reasons=())


def served_types(wish: ServedWish) -> tuple[str, ...]:
    """The types to try on each model, best first."""
    if wish.types:
        return wish.types
    fp8 = ("FP8",) if wish.fp8 and (wish.accurate or wish.requests >= MANY_REQUESTS) else ()
    return (*(("BF16",) if wish.accurate else ()), *fp8, "AWQ", "GPTQ")


def _preferences(options: Sequence[Option], wish: ServedWish) -> Iterator[tuple[Rule, Choice]]:
    for option in sorted(options, key=lambda o: o.weights, reverse=True):
        for cache in (wish.cache,) if wish.cache else ("auto", "fp8"):
            for name in served_types(wish):
                rule = Rule.STANDARD if cache == "auto" else Rule.SMALLER_CACHE
                yield rule, served_choice(option.model, name, cache, wish.context)


def served_choice(model: str, type: str, cache: str, context: int) -> Choice:
    """A choice for vLLM; its cache has one type for keys and values. Some checkpoints bring their own."""
    own = get(type).cache
    name = own if own != "auto" else cache
    return Choice(model=model, type=type, key_type=name, value_type=name, context=context)


def _requests(count: int) -> str:
    return "one request at a time" if count == 1 else f"{count} requests at once"


def _reasons(chosen: Candidate, options: Sequence[Option], wish: ServedWish, evaluate: Evaluate) -> Iterator[str]:
    kind, name = get(chosen.choice.type), chosen.choice.model
    largest = f"{name} is the largest of {len(options)} models whose" if len(options) > 1 else f"{name}'s"
    yield f"{largest} {kind.name} checkpoint serves {_requests(wish.requests)}; {kind.why}."
    yield (
        f"Pages: {show_bytes(chosen.memory_bytes)} for vLLM − {show_bytes(chosen.card_weights_bytes)} weights − "
        f"{show_bytes(chosen.compute_bytes.value)} activations − {show_bytes(chosen.overhead_bytes.value)} CUDA hold "
        f"{chosen.requests} requests of this work."
    )
    if chosen.choice.key_type == "fp8":
        yield "An FP8 cache holds twice the requests of a 16-bit one; Red Hat's measurements (May 2026) call it right."
    if kind.name == "AWQ":
        yield "GPTQ takes the same bytes; take whichever is published for the model."
    if wish.datacenter and wish.requests >= MANY_REQUESTS and kind.name != "W4A8KV4":
        other = evaluate(served_choice(name, "W4A8KV4", "auto", wish.context))
        yield (
            f"For throughput alone in a datacentre: W4A8KV4 (QServe, no vLLM) would hold {other.requests} requests; "
            "its authors measured 1.2 to 3.5 times TensorRT-LLM's best."
        )
