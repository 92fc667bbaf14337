"""The decision: the first place of the preference list (`ladder`) that fits, and why, in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pennyweight.core.units import GIB, show_bytes, show_rate
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.ladder import SPARE_BYTES, Option, Preference, Rule, Wish, preferences
from pennyweight.planner.quality import cache_quality

Evaluate = Callable[[Choice], Candidate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to run.

    Attributes:
        chosen: None where nothing fits.
        rule: the rule that chose it.
        reasons: sentences.
    """

    chosen: Candidate | None
    rule: Rule | None
    reasons: tuple[str, ...]


def decide(options: Sequence[Option], wish: Wish, evaluate: Evaluate) -> Decision:
    """Choose. `evaluate` plans one choice; it is asked for as few as the list needs, in its order."""
    passed: list[Preference] = []
    for preference in preferences(options, wish):
        candidate = evaluate(preference.choice)
        if takes(candidate, preference.spare_bytes):
            asked = wish.types_given or all(len(option.types) == 1 for option in options)
            reasons = _reasons(preference, candidate, options, passed, evaluate, asked)
            return Decision(chosen=candidate, rule=preference.rule, reasons=tuple(reasons))
        passed.append(preference)
    return Decision(chosen=None, rule=None, reasons=())


def takes(candidate: Candidate, spare_bytes: float) -> bool:
    """Whether the card takes it, with that much to spare and whatever buffer and overhead turn out to be."""
    most = candidate.total_bytes.high or candidate.total_bytes.value
    return candidate.fits and most <= candidate.memory_bytes and candidate.spare_bytes >= spare_bytes


def _reasons(
    taken: Preference,
    chosen: Candidate,
    options: Sequence[Option],
    passed: Sequence[Preference],
    evaluate: Evaluate,
    asked: bool,
) -> list[str]:
    return [
        _why(taken, chosen, options, asked),
        _budget(chosen),
        *_larger_models(taken, options, passed, evaluate),
        *_better_types(taken, passed, evaluate),
        *_cache(chosen),
    ]


def _why(taken: Preference, chosen: Candidate, options: Sequence[Option], asked: bool) -> str:
    """The rule, as a sentence about what it chose; `asked`: the operator, or the file, left no other type."""
    name, type = chosen.choice.model, chosen.choice.type
    spare = f"with {show_bytes(chosen.spare_bytes)} to spare"
    largest = f"{name} is the largest of {len(options)} models whose" if len(options) > 1 else f"{name}'s"
    match taken.rule:
        case Rule.ACCURATE:
            return f"{largest} {type} fits {spare}; the work is accuracy-sensitive, so the room goes to more bits."
        case Rule.STANDARD:
            return f"{largest} {type} fits {spare}."
        case Rule.SMALLER_CACHE:
            return f"{largest} {type} fits {spare}, once its cache is {_cache_name(chosen)}."
        case Rule.COMPACT:
            return f"{largest} {type} fits {spare}: 4 bits still, before any 3."
        case Rule.TIGHT:
            return f"{largest} {type} fits, tightly, {spare}; 1 GB is wanted: close what else uses the card."
        case Rule.SMALLEST_CACHE:
            return f"{largest} {type} fits {spare}, with a {_cache_name(chosen)} cache only."
        case Rule.EXPERTS_ON_HOST:
            lent = f"the experts of {chosen.settings.cpu_moe_layers} blocks on the host"
            needs = f"which needs {show_bytes(chosen.host_bytes)} of its memory"
            speed = f"4 bits at {show_rate(chosen.decode_tok_s.value)} tokens/s"
            return f"{largest} {type} fits with {lent}, {needs}: {speed}, before fewer bits on the card."
        case Rule.EMERGENCY:
            way = "a rotation and GPTQ (`--recipe hadamard+gptq:…`) or a model trained for it (QAT) costs less"
            return f"{largest} {type} {_how_it_came(asked, spare)}. Below 4 bits plain rounding costs much; {way}."


def _how_it_came(asked: bool, spare: str) -> str:
    """Of 3 bits and fewer: nothing better fits, unless nothing better was asked for."""
    return f"is what was asked for and fits {spare}" if asked else f"is all that fits, {spare}: an emergency"


def _budget(chosen: Candidate) -> str:
    """The arithmetic of the decision."""
    slots = f" × {chosen.settings.slots} slots" if chosen.settings.slots > 1 else ""
    return (
        f"Budget: {_gib(chosen.memory_bytes)} of memory − {_gib(chosen.overhead_bytes.value)} overhead − "
        f"{_gib(chosen.kv_bytes.value)} cache for {chosen.choice.context:,} tokens{slots} = "
        f"{_gib(chosen.budget_bytes)} GiB, for {_gib(chosen.card_weights_bytes)} of weights and "
        f"{_gib(chosen.compute_bytes.value)} to work in."
    )


def _larger_models(
    taken: Preference, options: Sequence[Option], passed: Sequence[Preference], evaluate: Evaluate
) -> list[str]:
    """Why no larger model: what the smallest 4-bit file of the next larger one would take."""
    own = next(option.weights for option in options if option.model == taken.choice.model)
    larger = [option.model for option in sorted(options, key=lambda o: o.weights) if option.weights > own]
    if not larger:
        return []
    tried = [p for p in passed if p.choice.model == larger[0] and p.rule in (Rule.STANDARD, Rule.SMALLER_CACHE)]
    if not tried:
        return []
    last = evaluate(tried[-1].choice)
    cache = f" even with a {_cache_name(last)} cache" if tried[-1].rule == Rule.SMALLER_CACHE else ""
    said = f"{larger[0]} {last.choice.type} {_short(last, tried[-1].spare_bytes)}{cache}"
    return [f"{said}; a smaller model comes before fewer bits."]


def _better_types(taken: Preference, passed: Sequence[Preference], evaluate: Evaluate) -> list[str]:
    """Why not the next better type of this model."""
    tried = [p for p in passed if p.choice.model == taken.choice.model and p.choice.type != taken.choice.type]
    last = evaluate(tried[-1].choice) if tried else None
    if last is None or not last.fits:  # what does not fit at all is told as one step further, with its speed
        return []
    return [f"{last.choice.type} {_short(last, tried[-1].spare_bytes)}."]


def _cache(chosen: Candidate) -> list[str]:
    """What a quantized cache costs, where the decision took one."""
    if chosen.choice.key_type == "F16":
        return []
    best = cache_quality(chosen.choice.key_type, chosen.choice.value_type).best
    known = f" Its own cost: {best.sentence}." if best else ""
    return [
        f"The context is what does not fit with an F16 cache. A {_cache_name(chosen)} cache buys memory, not speed: it "
        f"is read no faster than F16 and, deep in a context, often slower.{known}"
    ]


def _short(candidate: Candidate, wanted: int) -> str:
    """`would lack 1.20 GiB`, `would leave 0.30 GiB, less than the 1 GB wanted`."""
    if not candidate.fits:
        lacking = candidate.total_bytes.value - candidate.memory_bytes
        return f"lacks {show_bytes(max(lacking, 0))}" if lacking > 0 else "does not fit"
    wanted_words = "the 1 GB wanted" if wanted == SPARE_BYTES else f"the {show_bytes(wanted)} wanted"
    return f"leaves {show_bytes(candidate.spare_bytes)}, less than {wanted_words}"


def _cache_name(candidate: Candidate) -> str:
    key, value = candidate.choice.key_type, candidate.choice.value_type
    return key if key == value else f"{key}/{value}"


def _gib(count: float) -> str:
    return f"{count / GIB:.2f}"
