"""plan --cliff: decode speed against layers on the card and against the size of a model, with the knee of each."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pennyweight.core.errors import BadRequest
from pennyweight.jobs.plan_choices import asked_for, situation_of
from pennyweight.jobs.plan_question import USUAL, PlanOptions, Question, ask
from pennyweight.planner.candidate import Choice
from pennyweight.planner.curve import Curve, SizePoint, layers_curve, size_curve
from pennyweight.planner.decide import decide
from pennyweight.planner.estimate import Estimator
from pennyweight.planner.footprint import place
from pennyweight.planner.memory import plan_memory
from pennyweight.planner.request import Runtime
from pennyweight.planner.weigh import graph_shape

SIZES = 60
"""Points of the curve against size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliffResult:
    """Two curves of one choice on one card.

    Attributes:
        model, type, context, card: what they are of. depth: tokens before the one that is timed.
        layers: decode speed as layers move to the card, and its knee.
        sizes: decode speed as a model like this one grows; the knee is at `room_bytes`, what there is for weights.
        size_bytes: of the choice's own weights on the card.
    """

    model: str
    type: str
    context: int
    card: str
    depth: int
    layers: Curve
    sizes: tuple[SizePoint, ...]
    room_bytes: float
    size_bytes: float

    @property
    def title(self) -> str:
        """What both curves are of, in one line."""
        return f"{self.model} {self.type} on {self.card}, after {self.depth:,} tokens"


def cliff(models: str | Sequence[str], options: PlanOptions = USUAL) -> CliffResult:
    """The curves of what `plan` chooses; where nothing fits, of the first model's smallest 4-bit type.

    Raises: as `plan`; BadRequest where there is no card, or vLLM, which leaves nothing on the host.
    """
    if options.runtime != Runtime.LLAMA_CPP:
        raise BadRequest("--cliff is of llama.cpp: vLLM leaves no layers on the host, it refuses to start")
    question = ask([models] if isinstance(models, str) else list(models), replace(options, gpu_layers=None))
    if not question.hardware.budget.cards:
        raise BadRequest("--cliff needs a card to fall off; name one with --gpu, or --vram and --bandwidth")
    estimator = Estimator(situation_of(question, question.anatomies))
    choice = _choice(question, estimator)
    candidate, footprint = estimator(choice), estimator.footprint(choice)
    depth = min(question.work.tokens, choice.context)
    machine = estimator.situation.machine
    room = max(candidate.spare_bytes + candidate.card_weights_bytes - candidate.compute_bytes.value, 1.0)
    largest = 2.5 * max(room, candidate.card_weights_bytes)
    looked_at = sorted([room, *(largest * i / SIZES for i in range(1, SIZES + 1))])  # the knee is one of the points
    sizes = size_curve(footprint, machine, room, looked_at, depth)
    return CliffResult(
        model=choice.model,
        type=choice.type,
        context=choice.context,
        card=", ".join(dict.fromkeys(card.name for card in question.hardware.budget.cards)),
        depth=depth,
        layers=layers_curve(footprint, machine, _most_layers(estimator, choice, footprint.layers), depth),
        sizes=sizes,
        room_bytes=room,
        size_bytes=candidate.card_weights_bytes,
    )


def _choice(question: Question, estimator: Estimator) -> Choice:
    """What the plan chose, or what would be nearest to fitting."""
    wanted, wish = asked_for(question)
    chosen = decide(wanted, wish, estimator).chosen
    if chosen:
        return replace(chosen.choice, experts_on_host=False)  # the curves move whole layers
    smallest = min(wanted, key=lambda option: option.weights)
    name = "Q4_K_M" if "Q4_K_M" in smallest.types else smallest.types[-1]
    key_type, value_type = wish.caches[0]
    return Choice(model=smallest.model, type=name, key_type=key_type, value_type=value_type, context=question.context)


def _most_layers(estimator: Estimator, choice: Choice, layers: int) -> int:
    """How many whole layers the card takes, none of whose experts are lent to the host."""
    situation = estimator.situation
    footprint = estimator.footprint(choice)
    graph, settings = graph_shape(situation.anatomies[choice.model], footprint), estimator.settings(choice)

    def lacks(count: int) -> bool:
        return plan_memory(place(footprint, count), graph, settings, situation.budget).spare < 0

    return bisect_left(range(1, layers + 1), True, key=lacks)
