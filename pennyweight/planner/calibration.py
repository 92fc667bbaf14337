"""Runs of this machine → the constants of its speed model.

Three models of one family, many thin layers, few wide ones and few small ones, give three equations

    t = bytes / (η · bandwidth) + layers · τ + θ

in η, τ and θ, what a token costs beside its layers. Without the third (or where a cache may hold it) θ is 0. One run of
each other family gives its η, and a run behind a long context that of the cache. The first two
models' prompts give the operations per second and what a layer costs a micro-batch. What was not run keeps the ratio to
the measured that the class of the card has. The constants go into the store, one row each, under the device's name and
the runtime's build; a plan for that device is then *calibrated*.
"""

import math
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

OUTSIDE_CACHES = 100e6
"""Bytes of a model from which no last-level cache of a card holds it (an RTX 5090's has 96 MB)."""

ALIKE = 1e-6
"""Part of a cost's column that the others must leave unexplained: below, runs are of one shape."""


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

    The family with runs of different numbers of layers comes first and gives the cost of a layer; the shallow run of a
    pair with a float16 cache is one more of its family.

    Raises: BadRequest where there is nothing to fit, or a run that cannot be.
    """
    _check(runs)
    pairs = tuple(pairs)
    costs = _costs(runs, pairs, prior)
    measured = {
        family: _seconds_per_byte([run for run in runs if run.family is family], costs)
        for family in dict.fromkeys(run.family for run in runs)
    }
    efficiency = {family: _clamped(1 / (cost * prior.bandwidth)) for family, cost in measured.items()}
    prompt_flops, prompt_layer = _prompt_costs(prompts, prior)
    cache = {pair.deep.cache_family: _cache_efficiency(pair, prior.bandwidth) for pair in pairs}
    return replace(
        prior,
        efficiency=_completed(efficiency, prior.efficiency),
        cache_efficiency=_completed({f: e for f, e in cache.items() if e is not None}, prior.cache_efficiency),
        seconds_per_layer=costs.layer,
        seconds_per_token=costs.token,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Seconds of a layer and of a token; of a byte of `family`, where runs of it tell it together with these."""

    layer: float
    token: float = 0.0
    family: Family | None = None
    byte: float = 0.0


def _costs(runs: Sequence[DecodeRun], pairs: Sequence[CachePair], prior: Rates) -> _Costs:
    """What two or three sizes of one family tell; a layer's and a token's cost are the prior's where none do."""
    small = [pair.shallow for pair in pairs if pair.shallow.cache_family is Family.F16]
    for family in dict.fromkeys(run.family for run in runs):
        own = [run for run in runs if run.family is family]
        more = [run for run in small if run.family is family and run.nbytes >= OUTSIDE_CACHES]
        found = _three_costs(family, own + more) if more else None
        found = found or _two_costs(family, own)
        if found is not None:
            return found
    return _Costs(layer=prior.seconds_per_layer, token=prior.seconds_per_token)


def _three_costs(family: Family, runs: Sequence[DecodeRun]) -> _Costs | None:
    solved = _least_squares([((run.nbytes, run.layers, 1.0), run.seconds) for run in runs])
    if solved is None:
        return None
    byte, layer, token = solved
    possible = byte > 0 and 0 <= layer < SLOWEST_LAYER and 0 <= token < min(run.seconds for run in runs)
    return _Costs(family=family, byte=byte, layer=layer, token=token) if possible else None


def _two_costs(family: Family, runs: Sequence[DecodeRun]) -> _Costs | None:
    solved = _least_squares([((run.nbytes, run.layers), run.seconds) for run in runs])
    if solved is None or solved[0] <= 0:
        return None
    byte, layer = solved
    if 0 <= layer < SLOWEST_LAYER:
        return _Costs(family=family, byte=byte, layer=layer)
    return _Costs(layer=0.0)  # noise: a layer cannot cost less than nothing


def _prompt_costs(runs: Sequence[PromptRun], prior: Rates) -> tuple[float, float]:
    """(operations/s, seconds per layer and micro-batch); the prior's layer where one run alone, or noise, tells."""
    if not runs:
        return prior.prompt_flops, prior.prompt_seconds_per_layer
    rows = [(prior.prompt_seconds(run.operations, ((run.family, 1.0),)), run.layers, run.seconds) for run in runs]
    solved = _least_squares([((computed, layers), seconds) for computed, layers, seconds in rows])
    if solved is not None and solved[0] > 0 and 0 <= solved[1] < SLOWEST_LAYER:
        return prior.prompt_flops / solved[0], solved[1]
    computed, layers, seconds = max(rows)
    layer = 0.0 if solved is not None else min(prior.prompt_seconds_per_layer, 0.5 * seconds / layers)
    return prior.prompt_flops * computed / (seconds - layers * layer), layer


def _least_squares(runs: Sequence[tuple[Sequence[float], float]]) -> list[float] | None:
    """(Amounts, seconds) of runs → seconds for one of each amount, with relative errors least.

    None where the runs are fewer than the amounts, or of one shape. Source: normal equations, solved by elimination.
    """
    rows = [[amount / seconds for amount in amounts] for amounts, seconds in runs]
    unknowns = range(len(rows[0])) if rows else range(0)
    scales = [math.sqrt(sum(row[i] ** 2 for row in rows)) for i in unknowns]
    if len(rows) < len(unknowns) or not rows or min(scales) == 0:
        return None
    scaled = [[row[i] / scales[i] for i in unknowns] for row in rows]
    matrix = [[sum(row[i] * row[j] for row in scaled) for j in unknowns] for i in unknowns]
    right = [sum(row[i] for row in scaled) for i in unknowns]
    for i in unknowns:
        if matrix[i][i] <= ALIKE:
            return None
        for k in unknowns[i + 1 :]:
            factor = matrix[k][i] / matrix[i][i]
            matrix[k] = [below - factor * above for below, above in zip(matrix[k], matrix[i], strict=True)]
            right[k] -= factor * right[i]
    for i in reversed(unknowns):
        right[i] = (right[i] - sum(matrix[i][j] * right[j] for j in unknowns[i + 1 :])) / matrix[i][i]
    return [value / scale for value, scale in zip(right, scales, strict=True)]


def _seconds_per_byte(runs: Sequence[DecodeRun], costs: _Costs) -> float:
    if costs.family is runs[0].family:
        return costs.byte
    rests = (max(run.seconds - run.layers * costs.layer - costs.token, 0.2 * run.seconds) / run.nbytes for run in runs)
    middle = sorted(rests)
    return middle[len(middle) // 2]


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
