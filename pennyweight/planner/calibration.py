"""Runs of this machine → the constants of its speed model.

Two models of one family whose layers differ in number give two equations

    t = bytes / (η · bandwidth) + layers · τ

in η and τ; one run of each other family gives its η, and a run behind a long context that of the cache. The same two
models' prompts give the operations per second and what a layer costs a micro-batch. What was not run keeps the ratio to
the measured that the class of the card has. The constants go into the store, one row each, under the device's name and
the runtime's build; a plan for that device is then *calibrated*.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pennyweight.core.errors import BadRequest
from pennyweight.planner.footprint import Family
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import Rates, Shares

LEAST_EFFICIENCY, MOST_EFFICIENCY = 0.005, 1.5
"""Outside of this a fit is noise. Above 1 there is room for a bandwidth that was measured too low, or caches."""

SLOWEST_LAYER = 0.05
"""Seconds; a layer that costs more beside its bytes is noise too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRun:
    """One measured decode.

    Attributes:
        family: of its weights. nbytes: that one token reads of them.
        layers: decoder blocks.
        seconds: of one token.
        cache_family: of the cache's type. cache_bytes: that one token reads of it, on average over the run.
    """

    family: Family
    nbytes: float
    layers: int
    seconds: float
    cache_family: Family = Family.F16
    cache_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePair:
    """The same model decoding behind little and behind much context: what lies between is the cache's."""

    shallow: DecodeRun
    deep: DecodeRun


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRun:
    """One measured prompt, of one micro-batch.

    Attributes:
        family: of the weights. operations: of all its products. layers: decoder blocks. seconds: of the whole prompt.
    """

    family: Family
    operations: float
    layers: int
    seconds: float


def fit_rates(
    runs: Sequence[DecodeRun],
    prior: Rates,
    *,
    pairs: Iterable[CachePair] = (),
    prompts: Sequence[PromptRun] = (),
    source: str = "short runs on this machine",
) -> Rates:
    """The rates that explain `runs`, on `prior`'s bandwidth.

    The family with runs of different numbers of layers comes first and gives the cost of a layer.

    Raises: BadRequest where there is nothing to fit, or a run that cannot be.
    """
    _check(runs)
    per_byte, per_layer = _layer_cost(runs, prior)
    measured = {
        family: _seconds_per_byte([run for run in runs if run.family is family], per_layer, per_byte.get(family))
        for family in dict.fromkeys(run.family for run in runs)
    }
    efficiency = {family: _clamped(1 / (cost * prior.bandwidth)) for family, cost in measured.items()}
    prompt_flops, prompt_layer = _prompt_costs(prompts, prior)
    cache = {pair.deep.cache_family: _cache_efficiency(pair, prior.bandwidth) for pair in pairs}
    return replace(
        prior,
        efficiency=_completed(efficiency, prior.efficiency),
        cache_efficiency=_completed({f: e for f, e in cache.items() if e is not None}, prior.cache_efficiency),
        seconds_per_layer=per_layer,
        prompt_flops=prompt_flops,
        prompt_seconds_per_layer=prompt_layer,
        basis=Basis.CALIBRATED,
        source=source,
        spread=CALIBRATED_SPREAD,
    )


CALIBRATED_SPREAD = 0.05
"""Median error of decode speed from two small runs: see `benchmarks/planner.py`."""


def _check(runs: Sequence[DecodeRun]) -> None:
    if not runs:
        raise BadRequest("nothing was run; a calibration wants at least one decode")
    for run in runs:
        if not (run.nbytes > 0 and run.layers > 0 and 0 < run.seconds < 3600):
            raise BadRequest(
                f"a run of {run.nbytes:g} bytes, {run.layers} layers and {run.seconds:g} s a token is none"
            )


def _layer_cost(runs: Sequence[DecodeRun], prior: Rates) -> tuple[dict[Family, float], float]:
    """Seconds per byte by family where two sizes tell, and seconds per layer (the prior's where they do not)."""
    for family in dict.fromkeys(run.family for run in runs):
        own = [run for run in runs if run.family is family]
        solved = _least_squares([(run.nbytes, run.layers, run.seconds) for run in own]) if len(own) > 1 else None
        if solved is not None:
            per_byte, per_layer = solved
            if per_byte > 0 and 0 <= per_layer < SLOWEST_LAYER:
                return {family: per_byte}, per_layer
            if per_byte > 0:  # noise: a layer cannot cost less than nothing
                return {}, 0.0
    return {}, prior.seconds_per_layer


def _prompt_costs(runs: Sequence[PromptRun], prior: Rates) -> tuple[float, float]:
    """(operations/s, seconds per layer and micro-batch); the prior's layer where one run alone, or noise, tells."""
    if not runs:
        return prior.prompt_flops, prior.prompt_seconds_per_layer
    rows = [(prior.prompt_seconds(run.operations, ((run.family, 1.0),)), run.layers, run.seconds) for run in runs]
    solved = _least_squares(rows) if len(rows) > 1 else None
    if solved is not None and solved[0] > 0 and 0 <= solved[1] < SLOWEST_LAYER:
        return prior.prompt_flops / solved[0], solved[1]
    computed, layers, seconds = max(rows)
    layer = 0.0 if solved is not None else min(prior.prompt_seconds_per_layer, 0.5 * seconds / layers)
    return prior.prompt_flops * computed / (seconds - layers * layer), layer


def _least_squares(runs: Sequence[tuple[float, int, float]]) -> tuple[float, float] | None:
    """(Amount, layers, seconds) of runs → (seconds per amount, per layer) with relative errors least.

    None where the runs are of one shape.
    """
    rows = [(amount / seconds, layers / seconds) for amount, layers, seconds in runs]
    aa, ab = sum(a * a for a, _ in rows), sum(a * b for a, b in rows)
    bb, a1, b1 = sum(b * b for _, b in rows), sum(a for a, _ in rows), sum(b for _, b in rows)
    determinant = aa * bb - ab * ab
    if determinant <= 1e-6 * aa * bb:
        return None
    return (a1 * bb - b1 * ab) / determinant, (b1 * aa - a1 * ab) / determinant


def _seconds_per_byte(runs: Sequence[DecodeRun], per_layer: float, solved: float | None) -> float:
    if solved is not None:
        return solved
    costs = sorted(max(run.seconds - run.layers * per_layer, 0.2 * run.seconds) / run.nbytes for run in runs)
    return costs[len(costs) // 2]


def _cache_efficiency(pair: CachePair, bandwidth: float) -> float | None:
    """None where the longer context was not slower: noise."""
    seconds = pair.deep.seconds - pair.shallow.seconds
    nbytes = pair.deep.cache_bytes - pair.shallow.cache_bytes
    return _clamped(nbytes / seconds / bandwidth) if seconds > 0 and nbytes > 0 else None


def _clamped(efficiency: float) -> float:
    return min(max(efficiency, LEAST_EFFICIENCY), MOST_EFFICIENCY)


def _completed(measured: dict[Family, float], prior: Shares) -> Shares:
    """Families that were not run keep their ratio to those that were."""
    if not measured:
        return prior
    before = dict(prior)
    ratio = sum(value / before[family] for family, value in measured.items()) / len(measured)
    return tuple((family, measured.get(family, _clamped(value * ratio))) for family, value in prior)
