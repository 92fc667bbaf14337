"""What a quantization costs in quality, as evidence: measured here, published, or said to be so; never a bare number.

The order of trust: this model measured on this machine; this model measured by others; another model measured by others
(types keep their order from model to model, the figures move: Q4_K_M costs Llama-3-8B 2.5 times Llama-2-7B's KL
divergence); and last the field's percentages, which nobody is known to have measured.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log
from pathlib import PurePath

from pennyweight.planner.published_quality import CACHES, RULE_OF_THUMB, WEIGHTS, Row, Survey
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.store.measurement import Measurement


class Metric(StrEnum):
    """What was measured."""

    KLD = "kld_mean"  # nats per token from the unquantized model
    DELTA = "delta_ln_ppl"  # ln(perplexity ÷ perplexity of the unquantized model)
    KEPT = "percent_kept"  # of the unquantized model's quality, as people say


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One number about quality.

    Attributes:
        metric, quantity: what, and its value, basis and source.
        type: the file type, or a cache's `K/V`. model: which model it was measured on.
        measured_by, on: who, and on what text by which protocol. interest: who benefits from its being true.
        same_model: it was measured on the very model that is planned.
    """

    metric: Metric
    quantity: Quantity
    type: str
    model: str
    measured_by: str
    on: str
    interest: str
    same_model: bool

    @property
    def sentence(self) -> str:
        """Everything about it in one line."""
        value = f"{self.quantity.value:.3g} {_UNIT[self.metric]}"
        return (
            f"{self.type}: {value}, on {self.model}; measured by {self.measured_by}, {self.on}; "
            f"gains by it: {self.interest} [{self.quantity.source}]"
        )


_UNIT = {
    Metric.KLD: "nats of KL divergence per token",
    Metric.DELTA: "of ln perplexity over the base",
    Metric.KEPT: "% of the quality",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """All that is known of one type of one model, the most trustworthy first; empty where nothing is known."""

    evidence: tuple[Evidence, ...]

    @property
    def best(self) -> Evidence | None:
        """What to show."""
        return self.evidence[0] if self.evidence else None

    @property
    def label(self) -> str:
        """`KLD .031`, `ppl +2.8 %`, `~92 %`; `unknown` where nothing is known."""
        if not self.best:
            return "unknown"
        value = self.best.quantity.value
        if self.best.metric == Metric.KLD:
            return "KLD <0.0001" if value < 1e-4 else f"KLD {value:.4f}" if value < 0.01 else f"KLD {value:.3f}"
        if self.best.metric == Metric.DELTA:
            return f"ppl {100 * (exp(value) - 1):+.1f} %"
        return "unquantized" if self.best.quantity.basis == Basis.EXACT else f"~{value:.0f} %"


def quality_of(names: Sequence[str], type: str, measured: Iterable[Measurement] = ()) -> Quality:
    """What is known of a type.

    Args:
        names: what the model is called: its name, and its repository or file where there is one.
        measured: rows of the store (any models, types and metrics: those that fit are taken).
    """
    own = sorted(_measured(names, type, measured), key=lambda item: item.metric != Metric.KLD)
    published = sorted(_published(names, type, WEIGHTS), key=_trust)
    return Quality(evidence=(*own, *published, *_said(type)))


def cache_quality(key_type: str, value_type: str) -> Quality:
    """What is known of a quantized cache, whatever the weights."""
    return Quality(evidence=tuple(_published((), f"{key_type.upper()}/{value_type.upper()}", CACHES)))


def is_same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: case, publisher, folder and suffix aside (never `-Instruct` or a size)."""
    return _stem(one) == _stem(other)


def _stem(name: str) -> str:
    last = PurePath(name).name.lower().replace("_", "-").removesuffix(".gguf")
    return last.removeprefix("meta-").removesuffix("-hf")


def _measured(names: Sequence[str], type: str, rows: Iterable[Measurement]) -> Iterator[Evidence]:
    """The newest of each metric, of this model."""
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: row.when, reverse=True):
        is_ours = any(is_same_model(row.model, name) for name in names)
        if row.type.upper() != type.upper() or not is_ours or row.metric in seen:
            continue
        if row.metric not in (Metric.KLD, Metric.DELTA):
            continue
        seen.add(row.metric)
        error = 2 * row.stderr if row.stderr is not None else None
        yield Evidence(
            metric=Metric(row.metric),
            quantity=Quantity(
                value=row.value,
                basis=Basis.MEASURED,
                source=f"this machine's store, {row.when[:10]}",
                low=None if error is None else row.value - error,
                high=None if error is None else row.value + error,
            ),
            type=row.type,
            model=row.model,
            measured_by="this machine",
            on=row.protocol,
            interest="nobody but you",
            same_model=True,
        )


def _published(names: Sequence[str], type: str, surveys: Sequence[Survey]) -> Iterator[Evidence]:
    for survey in surveys:
        same = any(is_same_model(survey.model, name) for name in names)
        rows = [row for row in survey.rows if row.type == type.upper()]
        if rows:
            yield _evidence(rows[0], survey, same, _range(type, surveys))  # without a matrix stands first


def _evidence(row: Row, survey: Survey, same: bool, spread: tuple[float, float] | None) -> Evidence:
    """A row as evidence; of another model, with the range over all that published this type."""
    matrix = ", with an importance matrix" if row.imatrix else ""
    if row.kld is not None:
        metric, value = Metric.KLD, row.kld
    else:
        metric, value = Metric.DELTA, log((row.perplexity or survey.base_perplexity) / survey.base_perplexity)
    low, high = spread if spread and metric == Metric.KLD and not same else (None, None)
    return Evidence(
        metric=metric,
        quantity=Quantity(value=value, basis=Basis.PUBLISHED, source=survey.address, low=low, high=high),
        type=row.type,
        model=survey.model,
        measured_by=survey.measured_by,
        on=survey.on + matrix,
        interest=survey.interest,
        same_model=same,
    )


def _range(type: str, surveys: Sequence[Survey]) -> tuple[float, float] | None:
    """The least and the greatest published KL divergence of a type."""
    found = [row.kld for survey in surveys for row in survey.rows if row.type == type.upper() and row.kld is not None]
    return (min(found), max(found)) if len(found) > 1 else None


def _trust(evidence: Evidence) -> tuple[bool, bool]:
    """The very model before another; divergence, which needs no luck, before perplexity. Ties keep their order."""
    return not evidence.same_model, evidence.metric != Metric.KLD


UNQUANTIZED = ("BF16", "F32")


def _said(type: str) -> Iterator[Evidence]:
    if type.upper() in UNQUANTIZED:
        yield Evidence(
            metric=Metric.KEPT,
            quantity=Quantity(
                value=100.0, basis=Basis.EXACT, source="the model as it was trained", low=100.0, high=100.0
            ),
            type=type.upper(),
            model="every model",
            measured_by="nobody: there is nothing to measure",
            on="nothing",
            interest="nobody",
            same_model=True,
        )
        return
    percent = RULE_OF_THUMB.get(type.upper())
    if percent is not None:
        yield Evidence(
            metric=Metric.KEPT,
            quantity=Quantity(value=percent, basis=Basis.HEURISTIC, source="the field's rule of thumb"),
            type=type.upper(),
            model="no model in particular",
            measured_by="nobody known",
            on="no text or task named",
            interest="whoever publishes small files",
            same_model=False,
        )
