"""Whether a context fits, before anything is loaded: from the header, through the planner, with what would help."""

from dataclasses import dataclass, replace

from pennyweight.checkpoints.open import local_path, open_checkpoint
from pennyweight.core.errors import BadRequest, PennyweightError, ShapeError, UnknownName
from pennyweight.core.units import show_bytes
from pennyweight.jobs.here import budget_here
from pennyweight.jobs.refuse import beyond_training, model_too_large, too_little_room
from pennyweight.jobs.runnable import lossless_type
from pennyweight.jobs.speaking_options import USUAL_CONTEXT, SpeakingOptions, context_of
from pennyweight.jobs.this_machine import machine_here
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.kv import CACHE_TYPES, kv_by_block
from pennyweight.planner.memory import Budget, MemoryPlan, fit_memory
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import resolve
from pennyweight.planner.sizes import SizedTensor, sized_tensors
from pennyweight.planner.speed import batch_decode_speed, decode_speed, prompt_seconds
from pennyweight.planner.weigh import graph_shape, weigh
from pennyweight.recipes.file_types import get_file_type

CELLS = 256
LEAST_CONTEXT = 512
LARGEST = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What is to be read and written.

    Attributes:
        prompt_tokens, output_tokens: of all `prompts` together.
        alone_tokens: of the output, what is written with nobody beside it, where there are several sequences.
    """

    prompt_tokens: int
    output_tokens: int
    prompts: int = 1
    alone_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What is expected of reading and writing; seconds without loading. Bases are the planner's words."""

    seconds: float
    memory_bytes: int
    prompt_tokens: int
    output_tokens: int
    prompt_tok_s: float
    decode_tok_s: float
    speed_basis: str
    memory_basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One model on this machine.

    Attributes:
        trained: tokens of context that the model was made for.
        slots: sequences side by side, each with the context that is asked about.
        splits: whether a text that is longer than the context is read part by part.
        anatomy: None where its architecture cannot be planned; then only `trained` is checked.
        notes: what a person should know.
    """

    model: str
    trained: int
    options: SpeakingOptions
    budget: Budget
    anatomy: Anatomy | None
    tensors: tuple[SizedTensor, ...] = ()
    notes: tuple[str, ...] = ()
    slots: int = 1
    splits: bool = False

    @classmethod
    def of(cls, model: str, options: SpeakingOptions, *, slots: int = 1, splits: bool = False) -> "Fit":
        """Read MODEL's header. Raises: what opening it raises."""
        checkpoint, budget = open_checkpoint(model), budget_here(options.gpu_layers)
        name = checkpoint.metadata.get("general.architecture")
        stated = checkpoint.metadata.get(f"{name.value}.context_length") if name else None
        trained = int(stated.value) if stated and isinstance(stated.value, int) else 0  # type: ignore[arg-type]
        try:
            anatomy = resolve(str(local_path(model)))
            made = None if anatomy.file_type else get_file_type(lossless_type(checkpoint))
            tensors = sized_tensors(anatomy, made)
        except PennyweightError as error:
            anatomy, tensors, notes = None, (), (f"memory was not checked: {error}",)
        else:
            notes = ()
        return cls(
            model=model,
            trained=trained,
            options=options,
            budget=budget,
            anatomy=anatomy,
            tensors=tensors,
            notes=notes,
            slots=slots,
            splits=splits,
        )

    @property
    def usual_context(self) -> int:
        """Tokens that are taken where nobody asks for more: 8,192, or the model's own where that is less."""
        return context_of(self.trained or USUAL_CONTEXT, None)

    def memory(self, ctx: int, options: SpeakingOptions | None = None) -> MemoryPlan | None:
        """Memory of a context of `ctx` tokens; None where it cannot be planned. Raises: UnknownName, BadRequest."""
        if self.anatomy is None:
            return None
        settings = replace(_settings(ctx, options or self.options), slots=self.slots)
        try:
            kept = kv_by_block(self.anatomy, settings)
        except ShapeError as error:
            raise BadRequest(f"{self.model}: {error}") from error
        footprint = weigh(self.anatomy, self.tensors, kept, settings)
        graph = graph_shape(self.anatomy, footprint)
        # In this process whole layers go to a card or stay: nothing here asks llama.cpp to leave experts behind.
        return fit_memory(footprint, graph, settings, self.budget, lends_experts=False)

    def gpu_layers(self, ctx: int) -> int:
        """Layers to put on the cards: what was asked for, else what fits beside a context of `ctx` tokens."""
        plan = self.memory(ctx)
        if plan is None or self.options.gpu_layers >= 0 or not self.budget.cards:
            return self.options.gpu_layers
        return plan.placement.gpu_layers

    def spill(self, ctx: int) -> tuple[str, ...]:
        """What a person should know where not every layer fits the cards beside a context of `ctx` tokens."""
        plan = self.memory(ctx)
        if plan is None or not self.budget.cards:
            return ()
        count, layers = plan.placement.gpu_layers, plan.placement.footprint.layers
        if plan.spare < 0:
            lacking = show_bytes(-plan.spare)
            return (f"{count} layers were asked for and the card lacks {lacking}; -ngl auto takes what fits",)
        if self.options.gpu_layers < 0 and count < layers:
            return (
                f"{count} of {layers} layers fit the card beside a context of {ctx:,} tokens, the processor runs the "
                "rest; a smaller -c, a quantized cache (-ctk, -ctv) or a smaller type leaves room for more",
            )
        return ()

    def fits(self, ctx: int, options: SpeakingOptions | None = None) -> bool:
        """Whether the model was trained for `ctx` tokens and the memory is there."""
        return (not self.trained or ctx <= self.trained) and self.has_room(ctx, options)

    def has_room(self, ctx: int, options: SpeakingOptions | None = None) -> bool:
        """Whether the memory is there."""
        plan = self.memory(ctx, options)
        return plan is None or plan.fits

    def largest_context(self, options: SpeakingOptions | None = None) -> int:
        """Most tokens that fit, a multiple of 256 unless it is the model's own. Raises: DoesNotFit where none do."""
        most = self.trained or LARGEST
        if self.has_room(most, options):
            return most
        low, high = LEAST_CONTEXT // CELLS, most // CELLS
        if not self.has_room(LEAST_CONTEXT, options):
            raise model_too_large(self, LEAST_CONTEXT)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.has_room(middle * CELLS, options) else (low, middle - 1)
        return low * CELLS

    def require(self, ctx: int) -> None:
        """Raises: DoesNotFit for a context that this model or this machine has no room for, with what would help."""
        if self.trained and ctx > self.trained:
            raise beyond_training(self, ctx)
        if not self.has_room(ctx):
            raise too_little_room(self, ctx)

    def require_room(self, ctx: int) -> None:
        """The same of memory alone, and of the context's share: weights may be larger, and are read from the disk then.

        Raises: DoesNotFit.
        """
        if not self.has_room(ctx) and self.has_room(LEAST_CONTEXT):
            raise too_little_room(self, ctx)

    def predict(self, ctx: int, tokens: Tokens) -> Predicted | None:
        """What reading and writing `tokens` will take; None where it cannot be planned."""
        plan = self.memory(ctx)
        if plan is None:
            return None
        machine, each = machine_here(self.budget), max(1, tokens.prompt_tokens // tokens.prompts)
        reading = tokens.prompts * prompt_seconds(plan.placement, machine, each)
        alone = decode_speed(plan.placement, machine, each)
        together = batch_decode_speed(plan.placement, machine, self.slots, each) if self.slots > 1 else alone
        by_one = tokens.alone_tokens if self.slots > 1 else tokens.output_tokens
        writing = by_one / alone.value + (tokens.output_tokens - by_one) / together.value
        return Predicted(
            seconds=reading + writing,
            memory_bytes=round(plan.host_total.value + plan.card_total.value),
            prompt_tokens=tokens.prompt_tokens,
            output_tokens=tokens.output_tokens,
            prompt_tok_s=tokens.prompt_tokens / reading if reading else 0.0,
            decode_tok_s=tokens.output_tokens / writing if writing else alone.value,
            speed_basis=alone.basis.value,
            memory_basis=plan.host_total.basis.value,
        )


def _settings(ctx: int, options: SpeakingOptions) -> Settings:
    for name in (options.type_k, options.type_v):
        if name.upper() not in CACHE_TYPES:
            raise UnknownName.among("cache type", name, map(str.lower, CACHE_TYPES))
    return Settings(
        context=ctx,
        key_type=options.type_k.upper(),
        value_type=options.type_v.upper(),
        flash_attention=options.flash_attention is not False,
        gpu_layers=None if options.gpu_layers < 0 else options.gpu_layers,
    )
