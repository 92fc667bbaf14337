"""One choice for vLLM → a candidate: pages instead of a context per slot, cards that share each layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pennyweight.core.errors import BadRequest
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.cards import Card
from pennyweight.planner.estimate import Situation, weights_quantity, work_times
from pennyweight.planner.footprint import Family, Footprint, place
from pennyweight.planner.kv import KeptBytes
from pennyweight.planner.quality import quality_of
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.planner.rates import card_rates
from pennyweight.planner.served_types import ServedType, get, is_quantized, served_bytes, tensor_bytes
from pennyweight.planner.sizes import SizedTensor
from pennyweight.planner.speed import Machine
from pennyweight.planner.vllm import CACHE_BITS, VllmMemory, VllmSettings, request_bytes, vllm_memory
from pennyweight.planner.weigh import weigh
from pennyweight.recipes.order import block_number

PARALLEL_SHARE = 0.8
"""Of perfect scaling, what cards that share each layer reach: they wait for one another twice a block. Assumed."""

STACKED_BANDWIDTH = 1.2e12
"""Bytes/s: above it cards of these makes have stacked memory and large matrix units."""

_FAMILY = {"BF16": "BF16", "FP8": "Q8_0", "AWQ": "Q4_0", "GPTQ": "Q4_0", "W4A8KV4": "Q4_0"}
"""The GGUF format that is read most alike."""


@dataclass(slots=True)
class ServedEstimator:
    """Plans choices for vLLM in one situation, each once; `settings` without the length, which a choice has."""

    situation: Situation
    settings: VllmSettings
    _known: dict[Choice, Candidate] = field(default_factory=dict)

    def __call__(self, choice: Choice) -> Candidate:
        if choice not in self._known:
            self._known[choice] = self._planned(choice)
        return self._known[choice]

    def memory(self, choice: Choice) -> VllmMemory:
        """What vLLM takes of each card."""
        anatomy = self.situation.anatomies[choice.model]
        return vllm_memory(anatomy, get(choice.type), self._card_bytes(), self._started(choice))

    def _started(self, choice: Choice) -> VllmSettings:
        return replace(self.settings, max_model_len=choice.context, cache=choice.key_type)

    def _card_bytes(self) -> float:
        """Memory of the smallest of the cards."""
        budget = self.situation.budget
        if not budget.cards or budget.unified:
            raise BadRequest(
                "vLLM plans need a card with memory of its own; name one with --gpu, or --vram and --bandwidth"
            )
        return min(card.usable_bytes for card in budget.cards) - budget.used_bytes

    def _planned(self, choice: Choice) -> Candidate:
        situation, kind = self.situation, get(choice.type)
        anatomy, started = situation.anatomies[choice.model], self._started(choice)
        memory = self.memory(choice)
        each = request_bytes(anatomy, min(situation.work.tokens, choice.context), started)
        wanted = situation.settings.slots
        held = memory.requests(each)
        running = max(1, min(wanted, held))
        cache = max(wanted * each, memory.request_bytes)
        footprint = self._footprint(anatomy, kind, choice, cache)
        times = work_times(place(footprint), replace(situation.settings, slots=running), self._sharing(), ())
        layers = len(anatomy.blocks) + 1
        return Candidate(
            choice=choice,
            settings=replace(situation.settings, context=choice.context),
            weights=sum(tensor.weights for tensor in anatomy.tensors),
            memory_bytes=memory.usable_bytes,
            weights_bytes=weights_quantity(anatomy, served_bytes(anatomy, kind), f"{kind.name}: {_RULE}"),
            card_weights_bytes=memory.weights_bytes,
            kv_bytes=_exact(cache, "pages of 16 tokens × widths × bytes of the cache's type"),
            compute_bytes=_rule(memory.activation_bytes, "6 (f + h) bytes a token of the largest batch, and logits"),
            overhead_bytes=_rule(memory.other_bytes, "CUDA and libraries, as vLLM's logs count them"),
            total_bytes=_rule(
                memory.weights_bytes + cache + memory.activation_bytes + memory.other_bytes, "the sum of its parts"
            ),
            fits=memory.fits and held >= wanted,
            layers=layers,
            layers_on_gpu=layers if memory.fits else 0,
            host_bytes=0,
            prompt_tok_s=times.prompt,
            decode_tok_s=times.decode,
            first_token_seconds=times.first,
            seconds=times.all,
            quality=quality_of((anatomy.name, anatomy.repository), kind.name, situation.measured),
            requests=held if memory.fits else 0,
            notes=anatomy.notes,
        )

    def _sharing(self) -> Situation:
        """The situation on cards that share each layer instead of taking turns."""
        parts = self.settings.tensor_parallel
        card = self.situation.budget.cards[0]
        one = card_rates(card) if parts > 1 else self.situation.machine.card or card_rates(card)
        scale = parts * PARALLEL_SHARE if parts > 1 else 1.0
        operations = max(one.prompt_flops, _served_operations(card))
        rates = replace(one, bandwidth=one.bandwidth * scale, prompt_flops=operations * scale)
        return replace(self.situation, machine=Machine(card=rates, host=self.situation.machine.host))

    def _footprint(self, anatomy: Anatomy, kind: ServedType, choice: Choice, cache: int) -> Footprint:
        settings = replace(self.situation.settings, context=choice.context, key_type="F16", value_type="F16")
        kept = [KeptBytes(attention=cache // len(anatomy.blocks), state=0)] * len(anatomy.blocks)
        made = weigh(anatomy, tuple(_sized(anatomy, kind)), kept, settings)
        share = CACHE_BITS[choice.key_type] / 16  # weigh counted 16 bits; servers read a smaller cache as fast a byte
        blocks = tuple(replace(block, cache_read=block.cache_read * share) for block in made.blocks)
        return replace(made, blocks=blocks, cache_family=Family.F16)


def _served_operations(card: Card) -> float:
    """Operations/s of a datacentre card's matrix units under a server: half of their data sheet's dense 16 bits.

    llama.cpp reaches a sixth there, so its constants would be no guide. A100: 312 of 19.5 TFLOPS of the shaders; H100
    and H200: 989 of 66.9. Of other cards the constants of `rates` stand: their matrix units sum 32 bits no faster.
    """
    is_wide = card.architecture in ("Ampere", "Hopper") and card.bandwidth > STACKED_BANDWIDTH
    return 8 * card.fp32_flops if is_wide else 0.0


_RULE = "matrices of the blocks quantized, the rest at 16 bits; shapes"


def _sized(anatomy: Anatomy, kind: ServedType) -> Iterator[SizedTensor]:
    for tensor in anatomy.tensors:
        yield SizedTensor(
            name=tensor.name,
            shape=tensor.shape,
            format=_FAMILY[kind.name] if is_quantized(tensor) else "BF16",
            block=block_number(tensor.name),
            nbytes=tensor_bytes(tensor, kind),
        )


def _exact(value: float, source: str) -> Quantity:
    return Quantity(value=value, basis=Basis.EXACT, source=source, low=value, high=value)


def _rule(value: float, source: str) -> Quantity:
    return Quantity(value=value, basis=Basis.HEURISTIC, source=source)
