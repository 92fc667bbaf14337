"""The order in which choices are preferred: a list; the first that fits is chosen.

Because it is a list and what fits a card fits a larger one, a larger card never gets a worse choice. Its rules, the
best first (each tried on the largest model first):

1. a model's Q4_K_M with 1 GB to spare; where the work is accuracy-sensitive its Q6_K, then Q5_K_M, before that; where
   the context is what does not fit, its Q4_K_M with a Q8_0 cache after that; and only then the next smaller model
2. IQ4_XS, which is 4 bits still, before any 3
3. the same with less to spare, then with a Q4_0 cache
4. of a model with experts: 4 bits with experts in host memory, of which a token reads few
5. Q3 and below: an emergency

Of the 1 to 2 GB to spare that people ask for we ask for 1: cache and overhead, which the 2 are for, are counted here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from pennyweight.planner.candidate import Choice

SPARE_BYTES = 1_000_000_000
"""What weights should leave of the budget: room for the working space and for what we do not know of."""

BEST_FIRST = (
    *("F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M"),
    *("Q4_K_S", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S"),
)
"""By published KL divergence of Llama-3-8B, with an importance matrix where there is one (`published_quality`)."""

ACCURATE, STANDARD, COMPACT = ("Q6_K", "Q5_K_M"), ("Q4_K_M",), ("IQ4_XS",)
EMERGENCY = ("Q3_K_M", "Q3_K_S", "Q2_K")
TYPES = ("Q8_0", *ACCURATE, *STANDARD, *COMPACT, *EMERGENCY)
"""What is planned where no type is asked for. Q8_0 is shown and never chosen: its divergence is a fifth of Q6_K's, but
no task is known to tell them apart, and a larger model or context is the better use of the room."""


class Rule(Enum):
    """Why a choice stands where it does in the list."""

    ACCURATE = auto()
    STANDARD = auto()
    SMALLER_CACHE = auto()
    COMPACT = auto()
    TIGHT = auto()
    SMALLEST_CACHE = auto()
    EXPERTS_ON_HOST = auto()
    EMERGENCY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A model to choose from.

    Attributes:
        model: its name. weights: how many it has, which is what "larger" means.
        types: what it can be had in, of those that were asked for, best first.
        experts: it has some, and there is a host to leave them to.
    """

    model: str
    weights: int
    types: tuple[str, ...]
    experts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for.

    Attributes:
        context: tokens per slot.
        accurate: more bits are worth their room.
        caches: formats of keys and values to try, best first: one where the operator named it.
        types_given: the operator named the types: then better ones need no accuracy-sensitive work.
    """

    context: int
    accurate: bool = False
    caches: tuple[tuple[str, str], ...] = (("F16", "F16"), ("Q8_0", "Q8_0"), ("Q4_0", "Q4_0"))
    types_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A place in the list: the choice is taken where it fits and leaves `spare_bytes` of the budget."""

    rule: Rule
    choice: Choice
    spare_bytes: int


def best_first(types: Sequence[str]) -> tuple[str, ...]:
    """The types, the one that keeps most first; unknown ones last, in their own order."""
    rank = {name: index for index, name in enumerate(BEST_FIRST)}
    return tuple(sorted(types, key=lambda name: rank.get(name, len(rank))))


def preferences(options: Sequence[Option], wish: Wish) -> Iterator[Preference]:
    """The whole list."""
    models = sorted(options, key=lambda option: option.weights, reverse=True)
    first, *others = wish.caches
    for option in models:
        standard = _standard(option, wish)
        yield from _each(Rule.ACCURATE, option, _better(option, wish), wish, first)
        yield from _each(Rule.STANDARD, option, standard, wish, first)
        yield from _each(Rule.SMALLER_CACHE, option, standard, wish, *others[:1])
    for option in models:
        yield from _each(Rule.COMPACT, option, _compact(option), wish, first, *others[:1])
    for option in models:
        yield from _each(Rule.TIGHT, option, _four_bits(option, wish), wish, first, *others[:1], spare=0)
    for option in models:
        yield from _each(Rule.SMALLEST_CACHE, option, _four_bits(option, wish), wish, *others[1:], spare=0)
    for option in (option for option in models if option.experts):
        for place in _each(Rule.EXPERTS_ON_HOST, option, _four_bits(option, wish), wish, first, *others[:1], spare=0):
            yield replace(place, choice=replace(place.choice, experts_on_host=True))
    for name in dict.fromkeys(name for option in models for name in _low(option)):
        for option in models:
            if name in option.types:
                yield from _each(Rule.EMERGENCY, option, (name,), wish, *wish.caches, spare=0)


def _better(option: Option, wish: Wish) -> tuple[str, ...]:
    """The types above Q4_K_M that are worth their room for this work."""
    return tuple(name for name in option.types if name in ACCURATE and wish.accurate and not _is_given(option, wish))


def _standard(option: Option, wish: Wish) -> tuple[str, ...]:
    """Q4_K_M and what nobody has ranked; of types that were asked for, those above it too."""
    above = BEST_FIRST[: BEST_FIRST.index("Q4_K_M")] if _is_given(option, wish) else ()
    return tuple(name for name in option.types if name in above or name == "Q4_K_M" or name not in BEST_FIRST)


def _is_given(option: Option, wish: Wish) -> bool:
    """Whether the operator named the types, or the model exists in one only."""
    return wish.types_given or len(option.types) == 1


def _compact(option: Option) -> tuple[str, ...]:
    """4-bit types below Q4_K_M."""
    start, end = BEST_FIRST.index("Q4_K_S"), BEST_FIRST.index("Q3_K_L")
    return tuple(name for name in option.types if name in BEST_FIRST[start:end])


def _four_bits(option: Option, wish: Wish) -> tuple[str, ...]:
    return (*_standard(option, wish), *_compact(option))


def _low(option: Option) -> tuple[str, ...]:
    """Types of 3 bits and fewer."""
    return tuple(name for name in option.types if name in BEST_FIRST[BEST_FIRST.index("Q3_K_L") :])


def _each(
    rule: Rule, option: Option, types: Sequence[str], wish: Wish, *caches: tuple[str, str], spare: int = SPARE_BYTES
) -> Iterator[Preference]:
    for name in types:
        for key_type, value_type in caches:
            choice = Choice(
                model=option.model, type=name, key_type=key_type, value_type=value_type, context=wish.context
            )
            yield Preference(rule=rule, choice=choice, spare_bytes=spare)
