"""Invented models and cards, small enough to follow on paper."""

from collections.abc import Callable
from dataclasses import dataclass

from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.ladder import TYPES, Option
from pennyweight.planner.quality import quality_of
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.planner.request import Settings

GB = 1_000_000_000
BITS = {"F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.7, "Q4_K_M": 4.85, "IQ4_XS": 4.3, "Q3_K_M": 3.9}
BITS |= {"Q3_K_S": 3.5, "Q2_K": 3.0, "MXFP4": 4.25}
CACHE_BYTES = {"F16": 2.0, "Q8_0": 34 / 32, "Q4_0": 18 / 32}


@dataclass(frozen=True)
class Model:
    """`billions` of weights; `cache_kb` of an F16 cache per token."""

    name: str
    billions: float
    cache_kb: float = 160.0
    types: tuple[str, ...] = TYPES

    @property
    def option(self) -> Option:
        return Option(model=self.name, weights=int(self.billions * 1e9), types=self.types)


BIG, MIDDLE, SMALL = Model("Big-14B", 14, 160), Model("Middle-8B", 8, 140), Model("Small-4B", 4, 100)
FAMILY = (BIG, MIDDLE, SMALL)


def options(*models: Model) -> list[Option]:
    return [model.option for model in models]


def card(memory_gb: float, *models: Model, overhead_gb: float = 0.6) -> Callable[[Choice], Candidate]:
    """An evaluator: what each choice takes on a card of that much memory, whose host reads ten times slower."""
    by_name = {model.name: model for model in models or FAMILY}

    def evaluate(choice: Choice) -> Candidate:
        model = by_name[choice.model]
        weights = model.billions * 1e9 * BITS[choice.type] / 8
        cell = (CACHE_BYTES[choice.key_type] + CACHE_BYTES[choice.value_type]) / 4 * model.cache_kb * 1000
        cache, compute = cell * choice.context, 0.3 * GB
        total, memory = weights + cache + compute + overhead_gb * GB, memory_gb * GB
        share = min(1.0, max(0.0, (memory - total + weights) / weights))
        return Candidate(
            choice=choice,
            settings=Settings(context=choice.context, key_type=choice.key_type, value_type=choice.value_type),
            weights=model.option.weights,
            memory_bytes=memory,
            weights_bytes=_of(weights),
            card_weights_bytes=weights,
            kv_bytes=_of(cache),
            compute_bytes=_of(compute),
            overhead_bytes=_of(overhead_gb * GB),
            total_bytes=_of(total),
            fits=total <= memory,
            layers=41,
            layers_on_gpu=41 if total <= memory else int(40 * share),
            host_bytes=(1 - share) * weights,
            prompt_tok_s=_of(1000),
            decode_tok_s=_of(400 * GB / (weights * (share + 10 * (1 - share)))),
            first_token_seconds=_of(2),
            seconds=_of(10),
            quality=quality_of((model.name,), choice.type),
        )

    return evaluate


def _of(value: float) -> Quantity:
    return Quantity(value=value, basis=Basis.HEURISTIC, source="invented")
