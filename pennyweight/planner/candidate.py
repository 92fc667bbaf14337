"""One way of running one model on one card: what it takes, how fast it is, what it costs in quality."""

from dataclasses import dataclass

from pennyweight.planner.quality import Quality
from pennyweight.planner.quantity import Quantity
from pennyweight.planner.request import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What can be chosen: a model, its file type, the formats of its cache, tokens per slot, and where experts lie.

    `experts_on_host`: as many blocks as must be leave their experts to the host, everything else is on the card.
    """

    model: str
    type: str
    key_type: str
    value_type: str
    context: int
    experts_on_host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A choice, planned.

    Attributes:
        choice: what it is of. settings: how it is run.
        weights: how many weights the model has, all experts counted.
        memory_bytes: what the card has for us, before anything of ours is on it.
        weights_bytes: of the whole model. card_weights_bytes: of these, what belongs on the card (an embedding that is
            only looked up lies on the host).
        kv_bytes, compute_bytes, overhead_bytes: where all layers are on the card.
        total_bytes: on the card, for all layers there: its weights, cache, working space and overhead (with `-ngl` or
            `--n-cpu-moe` asked for: of what those leave on it).
        fits: whether that is there.
        layers, layers_on_gpu: blocks and output layer, as `-ngl` counts them; how many fit on the card.
        host_bytes: what then lies in host memory.
        prompt_tok_s, decode_tok_s: of all slots together, at the work's depth of context, with what fits on the card.
        first_token_seconds, seconds: of the workload's request, to its first token and to its last.
        requests: how many of the work's requests run at once; None for as many as there are slots.
        cliff: why it is slow, where it is; empty elsewhere.
        may_fit: of a model of which only bounds are known: its largest does not fit, and its smallest does.
        notes: what a person should know.
    """

    choice: Choice
    settings: Settings
    weights: int
    memory_bytes: float
    weights_bytes: Quantity
    card_weights_bytes: float
    kv_bytes: Quantity
    compute_bytes: Quantity
    overhead_bytes: Quantity
    total_bytes: Quantity
    fits: bool
    layers: int
    layers_on_gpu: int
    host_bytes: float
    prompt_tok_s: Quantity
    decode_tok_s: Quantity
    first_token_seconds: Quantity
    seconds: Quantity
    quality: Quality
    requests: int | None = None
    cliff: str = ""
    may_fit: bool = False
    notes: tuple[str, ...] = ()

    @property
    def budget_bytes(self) -> float:
        """Memory − overhead − cache: what weights and their working space may take."""
        return self.memory_bytes - self.overhead_bytes.value - self.kv_bytes.value

    @property
    def spare_bytes(self) -> float:
        """What the weights leave of the budget; negative where they do not fit. The working space is part of it."""
        return self.memory_bytes - self.total_bytes.value + self.compute_bytes.value
