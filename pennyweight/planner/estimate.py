"""One choice → a candidate: sizes, memory, speed and quality put together, for llama.cpp."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pennyweight.core.units import GIB, MIB
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.between import between
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.cliffs import Cliff, CliffKind, cliffs
from pennyweight.planner.footprint import Footprint, Placement, place
from pennyweight.planner.kv import kv_by_block
from pennyweight.planner.memory import Budget, MemoryPlan, fit_memory, plan_memory
from pennyweight.planner.quality import quality_of
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.planner.request import Settings
from pennyweight.planner.sizes import SizedTensor, sized_tensors, total_bytes
from pennyweight.planner.speed import Machine, batch_decode_speed, prompt_seconds
from pennyweight.planner.weigh import graph_shape, weigh_weights, with_cache
from pennyweight.planner.workloads import Workload
from pennyweight.recipes.file_types import get_file_type
from pennyweight.store.measurement import Measurement

USUAL_HOST_BYTES = 32 * GIB
"""What a host of unknown memory is trusted with."""

LENDING_MARGIN = 512 * MIB
"""Left of the card where blocks lend their experts until it fits: what buffer and overhead may be more."""

READING = 5.0
"""Tokens per second that people read: about 240 words a minute."""

PROMPT_SPREAD = 0.3
"""Relative error to expect of prompt speed: realised over rated operations is 0.79 to 1.30 on GeForce cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything about a plan but the choice.

    Attributes:
        anatomies: by name. budget, machine: what it runs on. work: what for.
        settings: what was asked for besides: slots, micro-batch, `-ngl`, `--n-cpu-moe`.
        measured: rows of the store.
    """

    anatomies: Mapping[str, Anatomy]
    budget: Budget
    machine: Machine
    work: Workload
    settings: Settings
    measured: tuple[Measurement, ...] = ()


@dataclass(slots=True)
class Estimator:
    """Plans choices in one situation, each once."""

    situation: Situation
    _known: dict[Choice, Candidate] = field(default_factory=dict)
    _sized: dict[tuple[str, str], tuple[SizedTensor, ...]] = field(default_factory=dict)
    _weighed: dict[tuple[str, str], Footprint] = field(default_factory=dict)

    def __call__(self, choice: Choice) -> Candidate:
        """The candidate. Raises: ShapeError for a cache type that a model's heads are no whole blocks of."""
        if choice not in self._known:
            made, least = self._planned(choice), self.situation.anatomies[choice.model].least
            self._known[choice] = between(made, self._smallest(least)(choice)) if least else made
        return self._known[choice]

    def _smallest(self, least: Anatomy) -> "Estimator":
        """An estimator of the smallest model that one of unknown architecture can be."""
        return Estimator(replace(self.situation, anatomies={least.name: least}))

    def settings(self, choice: Choice) -> Settings:
        """How llama.cpp is asked to run it."""
        return replace(
            self.situation.settings, context=choice.context, key_type=choice.key_type, value_type=choice.value_type
        )

    def footprint(self, choice: Choice) -> Footprint:
        """What the choice weighs, block by block."""
        anatomy, settings = self.situation.anatomies[choice.model], self.settings(choice)
        return with_cache(self._weights(choice), anatomy, kv_by_block(anatomy, settings), settings)

    def _weights(self, choice: Choice) -> Footprint:
        """What of a footprint no cache changes."""
        key = (choice.model, choice.type)
        if key not in self._weighed:
            self._weighed[key] = weigh_weights(self.situation.anatomies[choice.model], self._tensors(choice))
        return self._weighed[key]

    def memory(self, choice: Choice) -> MemoryPlan:
        """What of it lies where: all that fits on the card, or what was asked for."""
        footprint = self.footprint(choice)
        graph = graph_shape(self.situation.anatomies[choice.model], footprint)
        return fit_memory(footprint, graph, self.settings(choice), self.situation.budget)

    def _offered(self, choice: Choice) -> Budget:
        """What there is; where experts can be lent as need be, without the last of it."""
        budget = self.situation.budget
        return replace(budget, used_bytes=budget.used_bytes + LENDING_MARGIN) if choice.experts_on_host else budget

    def _tensors(self, choice: Choice) -> tuple[SizedTensor, ...]:
        key = (choice.model, choice.type)
        if key not in self._sized:
            anatomy = self.situation.anatomies[choice.model]
            made = None if anatomy.file_type == choice.type else get_file_type(choice.type)
            self._sized[key] = sized_tensors(anatomy, made)
        return self._sized[key]

    def _planned(self, choice: Choice) -> Candidate:
        situation = self.situation
        anatomy, settings = situation.anatomies[choice.model], self.settings(choice)
        footprint = self.footprint(choice)
        graph = graph_shape(anatomy, footprint)
        placed = fit_memory(footprint, graph, settings, self._offered(choice))
        if choice.experts_on_host:
            placed = plan_memory(placed.placement, graph, settings, situation.budget)
        is_asked = settings.gpu_layers is not None or bool(settings.cpu_moe_layers) or not situation.budget.cards
        is_asked = is_asked or choice.experts_on_host
        whole = placed if is_asked else plan_memory(place(footprint), graph, settings, situation.budget)
        slow = cliffs(placed, situation.machine, situation.budget, float(situation.work.tokens))
        times = work_times(placed.placement, settings, situation, slow)
        placement = placed.placement
        on_host = not situation.budget.cards
        nbytes = total_bytes(self._tensors(choice))
        return Candidate(
            choice=choice,
            settings=replace(
                settings, gpu_layers=placement.gpu_layers, cpu_moe_layers=len(placement.expert_blocks_on_host)
            ),
            weights=sum(tensor.weights for tensor in anatomy.tensors),
            memory_bytes=_host_memory(situation.budget) if on_host else whole.card_budget,
            weights_bytes=weights_quantity(anatomy, nbytes, "every tensor by llama.cpp's file-type rules; shapes"),
            card_weights_bytes=(whole.host_weights if on_host else whole.card_weights).value,
            kv_bytes=_cache(anatomy, footprint.cache),
            compute_bytes=whole.host_compute if on_host else whole.compute,
            overhead_bytes=whole.overhead,
            total_bytes=whole.host_total if on_host else whole.card_total,
            fits=whole.fits and (not choice.experts_on_host or _experts_fit(placed, situation.budget, times)),
            layers=footprint.layers,
            layers_on_gpu=placement.gpu_layers,
            host_bytes=placed.host_total.value,
            prompt_tok_s=times.prompt,
            decode_tok_s=times.decode,
            first_token_seconds=times.first,
            seconds=times.all,
            quality=quality_of((anatomy.name, anatomy.repository), choice.type, situation.measured),
            cliff=slow[0].words if slow else "",
            notes=anatomy.notes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTimes:
    """Speeds of all slots together; seconds to the first token and to the last of the work."""

    prompt: Quantity
    decode: Quantity
    first: Quantity
    all: Quantity


def work_times(placement: Placement, settings: Settings, situation: Situation, slow: tuple[Cliff, ...]) -> WorkTimes:
    """Speeds of all slots together, and the seconds of the work: prompts one after another, then steps for all."""
    work, slots = situation.work, settings.slots
    depth = work.prompt_tokens + work.output_tokens / 2
    decode = batch_decode_speed(placement, situation.machine, slots, depth)
    worse = max((cliff.factor for cliff in slow if cliff.kind in (CliffKind.DISK, CliffKind.WORKING_SET)), default=1.0)
    decode = _scaled(decode, 1 / worse)
    seconds = prompt_seconds(placement, situation.machine, work.prompt_tokens, micro_batch=settings.micro_batch)
    first = _spread(seconds * slots, decode.basis, decode.source, PROMPT_SPREAD)
    rate = slots * work.prompt_tokens / first.value if first.value else 0.0
    prompt = _spread(rate, decode.basis, decode.source, PROMPT_SPREAD)
    return WorkTimes(prompt=prompt, decode=decode, first=first, all=_sum(first, decode, work.output_tokens * slots))


def _sum(first: Quantity, decode: Quantity, tokens: int) -> Quantity:
    def after(start: float | None, speed: float | None) -> float | None:
        return None if start is None or speed is None else start + (tokens / speed if speed else float("inf"))

    return Quantity(
        value=after(first.value, decode.value) or 0.0,
        basis=decode.basis,
        source="prompt ÷ prompt speed + output ÷ decode speed at that depth",
        low=after(first.low, decode.high),
        high=after(first.high, decode.low),
    )


def _spread(value: float, basis: Basis, source: str, spread: float) -> Quantity:
    return Quantity(value=value, basis=basis, source=source, low=value / (1 + spread), high=value * (1 + spread))


def _scaled(quantity: Quantity, factor: float) -> Quantity:
    if factor == 1:
        return quantity
    low = None if quantity.low is None else quantity.low * factor
    high = None if quantity.high is None else quantity.high * factor
    return replace(quantity, value=quantity.value * factor, low=low, high=high)


def weights_quantity(anatomy: Anatomy, nbytes: int, rule: str) -> Quantity:
    """Bytes of the weights: exact where the architecture is known, or a file has them, else a bound."""
    if not anatomy.known and anatomy.file_type is None:
        return Quantity(value=nbytes, basis=Basis.HEURISTIC, source=f"a bound: {anatomy.source}, unknown architecture")
    return Quantity(
        value=nbytes,
        basis=Basis.EXACT,
        source=f"{rule} from {anatomy.source}",
        low=nbytes,
        high=nbytes,
    )


def _cache(anatomy: Anatomy, nbytes: int) -> Quantity:
    if not anatomy.known:
        return Quantity(
            value=nbytes, basis=Basis.HEURISTIC, source="a bound: full attention in every block", high=nbytes
        )
    source = "widths × cells × bytes of the cache's type"
    return Quantity(value=nbytes, basis=Basis.EXACT, source=source, low=nbytes, high=nbytes)


def _experts_fit(placed: MemoryPlan, budget: Budget, times: WorkTimes) -> bool:
    """Whether the card has every layer but experts, the host room for those, and people need not wait for words.

    A host of unknown memory is taken for a usual one.
    """
    whole = placed.placement.gpu_layers == placed.placement.footprint.layers and times.decode.value >= READING
    return whole and (budget.host.memory_bytes > 0 or placed.host_total.value <= USUAL_HOST_BYTES)


def _host_memory(budget: Budget) -> float:
    return budget.host.available_bytes or budget.host.memory_bytes
