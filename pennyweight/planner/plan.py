"""A plan as one value: what the Python face returns, `--json` prints and the screen shows. Plain numbers, bases beside.

Bytes, seconds and tokens per second throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.candidate import Candidate
from pennyweight.planner.memory import Budget
from pennyweight.planner.quality import Quality
from pennyweight.planner.quantity import Quantity
from pennyweight.planner.request import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCard:
    """What the plan is for.

    Attributes:
        name: of the cards, `2× RTX 3090`, or of the processor where there is none.
        memory_bytes: what they have. usable_bytes: what is left for us.
        bandwidth: bytes/s, of the slowest; bandwidth_source: how that is known.
        count: how many cards; 0 for the processor alone. unified: card and host share one memory.
        capabilities: what the units compute, `bf16`, `fp8` …
        host_memory_bytes: 0 where unknown; host_bandwidth: bytes/s, and how that is known.
        source: of the card's figures. notes: what a person should know of them.
    """

    name: str
    memory_bytes: int
    usable_bytes: int
    bandwidth: float
    bandwidth_source: str
    count: int
    unified: bool
    capabilities: tuple[str, ...]
    host_memory_bytes: int
    host_bandwidth: float
    host_source: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWork:
    """The work that seconds are of; see `workloads.Workload`."""

    name: str
    prompt_tokens: int
    output_tokens: int
    slots: int
    accurate: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQuality:
    """The most trustworthy evidence about a type; see `quality.Evidence`. `label` is short, `sentence` says it all."""

    label: str
    metric: str | None
    value: float | None
    low: float | None
    high: float | None
    basis: str | None
    model: str | None
    same_model: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBasis:
    """How each number of a row is known: `exact`, `measured`, `calibrated`, `published` or `heuristic`."""

    weights_bytes: str
    kv_bytes: str
    compute_bytes: str
    overhead_bytes: str
    total_bytes: str
    prompt_tok_s: str
    decode_tok_s: str
    seconds: str
    quality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One candidate; see `candidate.Candidate`. A range is (low, high), None where nothing is known of it, or all is.

    Attributes:
        source: what MODEL was and where it is published; empty where unknown.
        requests: how many of the work's requests run at once.
        bounds: only bounds are known of the model: sizes are its largest, speeds its slowest, the ranges beside them.
        quantizable: whether `quantize` makes this type from what is there.
    """

    model: str
    source: str
    type: str
    runtime: str
    context: int
    slots: int
    requests: int
    key_type: str
    value_type: str
    micro_batch: int
    weights: int
    weights_bytes: int
    weights_range: tuple[float, float] | None
    card_weights_bytes: int
    kv_bytes: int
    kv_range: tuple[float, float] | None
    compute_bytes: int
    overhead_bytes: int
    total_bytes: int
    total_range: tuple[float, float] | None
    memory_bytes: int
    spare_bytes: int
    host_bytes: int
    fits: bool
    may_fit: bool
    bounds: bool
    layers: int
    layers_on_gpu: int
    cpu_moe_layers: int
    prompt_tok_s: float
    decode_tok_s: float
    decode_range: tuple[float, float] | None
    first_token_seconds: float
    seconds: float
    seconds_range: tuple[float, float] | None
    quality: PlanQuality
    basis: PlanBasis
    cliff: str
    quantizable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A footnote: where the numbers of a column come from."""

    column: str
    basis: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer.

    Attributes:
        chosen: None where nothing fits. candidates: what was looked at, the largest model and best type first.
        reasons: why. further: what lies one step beyond. changes: where nothing fits, what would make it fit.
        commands: what to run next. notes: warnings. sources: footnotes.
    """

    runtime: str
    card: PlanCard
    workload: PlanWork
    context: int
    chosen: PlanRow | None
    candidates: tuple[PlanRow, ...]
    reasons: tuple[str, ...]
    further: tuple[str, ...]
    changes: tuple[str, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[Source, ...]


def plan_card(budget: Budget, processor: str) -> PlanCard:
    """The card as a plan shows it; `processor` names the machine where there is no card."""
    cards, host = budget.cards, budget.host
    names = [card.name for card in cards]
    words = [f"{names.count(name)}× {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    return PlanCard(
        name=", ".join(words) or processor,
        memory_bytes=sum(card.memory_bytes for card in cards) or host.memory_bytes,
        usable_bytes=sum(card.usable_bytes - budget.used_bytes for card in cards)
        or host.available_bytes
        or host.memory_bytes,
        bandwidth=min((card.bandwidth for card in cards), default=host.bandwidth),
        bandwidth_source="; ".join(dict.fromkeys(card.bandwidth_source for card in cards)) or host.source,
        count=len(cards),
        unified=budget.unified,
        capabilities=tuple(sorted({str(c) for card in cards for c in card.capabilities})),
        host_memory_bytes=host.memory_bytes,
        host_bandwidth=host.bandwidth,
        host_source=host.source,
        source="; ".join(dict.fromkeys(card.source for card in cards)) or host.source,
        notes=tuple(dict.fromkeys(card.note for card in cards if card.note)),
    )


def plan_row(candidate: Candidate, anatomy: Anatomy, runtime: Runtime) -> PlanRow:
    """A candidate in plain numbers."""
    settings = candidate.settings
    return PlanRow(
        model=anatomy.name,
        source=anatomy.repository,
        type=candidate.choice.type,
        runtime=runtime.value,
        context=candidate.choice.context,
        slots=settings.slots,
        requests=settings.slots if candidate.requests is None else candidate.requests,
        key_type=candidate.choice.key_type,
        value_type=candidate.choice.value_type,
        micro_batch=settings.micro_batch,
        weights=candidate.weights,
        weights_bytes=int(candidate.weights_bytes.value),
        weights_range=_open_range(candidate.weights_bytes),
        card_weights_bytes=int(candidate.card_weights_bytes),
        kv_bytes=int(candidate.kv_bytes.value),
        kv_range=_open_range(candidate.kv_bytes),
        compute_bytes=int(candidate.compute_bytes.value),
        overhead_bytes=int(candidate.overhead_bytes.value),
        total_bytes=int(candidate.total_bytes.value),
        total_range=_range(candidate.total_bytes),
        memory_bytes=int(candidate.memory_bytes),
        spare_bytes=int(candidate.spare_bytes),
        host_bytes=int(candidate.host_bytes),
        fits=candidate.fits,
        may_fit=candidate.may_fit,
        bounds=not anatomy.known,
        layers=candidate.layers,
        layers_on_gpu=candidate.layers_on_gpu,
        cpu_moe_layers=settings.cpu_moe_layers,
        prompt_tok_s=candidate.prompt_tok_s.value,
        decode_tok_s=candidate.decode_tok_s.value,
        decode_range=_range(candidate.decode_tok_s),
        first_token_seconds=candidate.first_token_seconds.value,
        seconds=candidate.seconds.value,
        seconds_range=_range(candidate.seconds),
        quality=_quality(candidate.quality),
        basis=_basis(candidate),
        cliff=candidate.cliff,
        quantizable=runtime == Runtime.LLAMA_CPP and anatomy.file_type is None and anatomy.known,
    )


def _range(quantity: Quantity) -> tuple[float, float] | None:
    return None if quantity.low is None or quantity.high is None else (quantity.low, quantity.high)


def _open_range(quantity: Quantity) -> tuple[float, float] | None:
    """The range of a number that is not exact."""
    return None if quantity.low == quantity.high else _range(quantity)


def _quality(quality: Quality) -> PlanQuality:
    best = quality.best
    return PlanQuality(
        label=quality.label,
        metric=best and best.metric.value,
        value=best and best.quantity.value,
        low=best and best.quantity.low,
        high=best and best.quantity.high,
        basis=best and best.quantity.basis.value,
        model=best and best.model,
        same_model=bool(best and best.same_model),
        sentence=best.sentence if best else "nobody is known to have measured it",
    )


def _basis(candidate: Candidate) -> PlanBasis:
    best = candidate.quality.best
    return PlanBasis(
        weights_bytes=candidate.weights_bytes.basis.value,
        kv_bytes=candidate.kv_bytes.basis.value,
        compute_bytes=candidate.compute_bytes.basis.value,
        overhead_bytes=candidate.overhead_bytes.basis.value,
        total_bytes=candidate.total_bytes.basis.value,
        prompt_tok_s=candidate.prompt_tok_s.basis.value,
        decode_tok_s=candidate.decode_tok_s.basis.value,
        seconds=candidate.seconds.basis.value,
        quality=best.quantity.basis.value if best else "unknown",
    )


def sources_of(rows: Sequence[Candidate]) -> tuple[Source, ...]:
    """Footnotes of the table: one for each column and each way in which its numbers are known."""
    found: dict[tuple[str, str], Source] = {}
    for candidate in rows:
        named = (
            ("weights", candidate.weights_bytes),
            ("cache", candidate.kv_bytes),
            ("buffer", candidate.compute_bytes),
            ("overhead", candidate.overhead_bytes),
            ("speed", candidate.decode_tok_s),
        )
        for column, quantity in named:
            if quantity.value or column != "overhead":
                source = Source(column=column, basis=quantity.basis.value, words=quantity.source)
                found.setdefault((column, quantity.source), source)
    return tuple(found.values())
