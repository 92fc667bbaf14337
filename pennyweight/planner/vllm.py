"""vLLM's memory: what it takes of a card, and how many requests its pages hold.

    pages = utilization × memory − weights − activations − what CUDA and libraries hold

vLLM finds the two last by running its largest batch once. The closed form here is read off the layers: at the widest
moment of a block stand, for each token of the batch, gate and up (2 f), their product (f) and three vectors of the
residual's width, at 16 bits: 6 (f + h) bytes; or later, if that is more, for each sequence a row of logits at 16 and
at 32 bits. CUDA graphs come on top, outside of the utilization, in the tenth that is left: 0.5 to 1 GiB.

Source: vllm `worker.determine_num_available_blocks`, `EngineArgs.get_batch_defaults`.
"""

from dataclasses import dataclass
from math import ceil

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import GIB
from pennyweight.models.anatomy import Anatomy, Block, Keeps
from pennyweight.planner.served_types import ServedType, served_bytes

PAGE_TOKENS = 16
OTHER_BYTES = GIB // 4
"""CUDA's context and libraries, as vLLM counts them ("non-torch"): 0.05 to 0.35 GiB in the logs, 1.8 in one."""

CACHE_BITS = {"auto": 16.0, "fp8": 8.0, "int4": 4.0 + 32 / 128}
"""Bits of one number of the cache. `int4` is QServe's: a scale and a zero point of 16 bits for each head of 128."""

LARGE_CARD_BYTES, LARGE_BATCH, USUAL_BATCH = 70 * GIB, (8192, 1024), (2048, 256)
"""From that much memory on vLLM's server batches more tokens and sequences (not on an A100, which it makes slower)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """How vLLM is started; names as on its command line.

    Attributes:
        max_model_len: tokens of the longest request.
        utilization: `--gpu-memory-utilization`.
        tensor_parallel: `-tp`, cards that share each layer.
        cache: `--kv-cache-dtype`: `auto` (16 bits) or `fp8`.
        batched_tokens, sequences: `--max-num-batched-tokens`, `--max-num-seqs`; None for vLLM's own defaults.
        is_a100: the card is one, whatever its memory.
        page_tokens: `--block-size`.
    """

    max_model_len: int
    utilization: float = 0.9
    tensor_parallel: int = 1
    cache: str = "auto"
    batched_tokens: int | None = None
    sequences: int | None = None
    is_a100: bool = False
    page_tokens: int = PAGE_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmMemory:
    """Bytes on each card, and what its pages hold.

    Attributes:
        usable_bytes: utilization × memory.
        weights_bytes, activation_bytes, other_bytes: by purpose.
        page_bytes: of the pages that remain; negative where nothing does.
        request_bytes: one request of `max_model_len` in whole pages.
        cache_tokens: tokens that the pages hold.
        sequences: the most that vLLM schedules at once.
    """

    usable_bytes: float
    weights_bytes: int
    activation_bytes: int
    other_bytes: int
    page_bytes: float
    request_bytes: int
    cache_tokens: int
    sequences: int

    @property
    def fits(self) -> bool:
        """Whether one request of full length fits: vLLM refuses to start otherwise."""
        return self.page_bytes >= self.request_bytes

    def requests(self, request_bytes: int) -> int:
        """Requests of that many bytes at once."""
        return max(0, min(self.sequences, int(self.page_bytes // max(request_bytes, 1))))


def vllm_memory(anatomy: Anatomy, kind: ServedType, memory_bytes: float, settings: VllmSettings) -> VllmMemory:
    """Plan one card's memory (each of `tensor_parallel` cards has `memory_bytes`). Raises: BadRequest, UnknownName."""
    _check(anatomy, settings)
    batched, sequences = _batch(memory_bytes, settings)
    parts = settings.tensor_parallel
    weights = ceil(served_bytes(anatomy, kind) / parts) + _position_bytes(anatomy)
    activations = _activation_bytes(anatomy, batched, sequences, parts)
    usable = settings.utilization * memory_bytes
    pages = usable - weights - activations - OTHER_BYTES
    return VllmMemory(
        usable_bytes=usable,
        weights_bytes=weights,
        activation_bytes=activations,
        other_bytes=OTHER_BYTES,
        page_bytes=pages,
        request_bytes=request_bytes(anatomy, settings.max_model_len, settings),
        cache_tokens=_cache_tokens(anatomy, pages, settings),
        sequences=sequences,
    )


def _position_bytes(anatomy: Anatomy) -> int:
    """The table of sines and cosines, for every position the model was trained on, at 16 bits, on each card."""
    return 2 * anatomy.shape.context_length * anatomy.shape.key_length


def request_bytes(anatomy: Anatomy, tokens: int, settings: VllmSettings) -> int:
    """Bytes of the pages that a request of `tokens` takes on each card, and of its recurrent state."""
    return sum(_block_bytes(block, anatomy, tokens, settings) for block in anatomy.blocks)


def _block_bytes(block: Block, anatomy: Anatomy, tokens: int, settings: VllmSettings) -> int:
    if block.keeps == Keeps.STATE:
        return ceil(4 * block.state_numbers / settings.tensor_parallel)
    seen = min(tokens, block.window) if block.keeps == Keeps.WINDOW else tokens
    cells = ceil(seen / settings.page_tokens) * settings.page_tokens
    return ceil(cells * _width(block, anatomy, settings) * CACHE_BITS[settings.cache] / 8)


def _width(block: Block, anatomy: Anatomy, settings: VllmSettings) -> float:
    """Numbers of one token on each card: heads are shared out, and repeated where there are fewer than cards."""
    if block.keeps == Keeps.LATENT:
        return block.key_width  # one vector for all heads: every card has all of it
    shared = min(settings.tensor_parallel, max(anatomy.shape.head_count_kv, 1))
    return (block.key_width + block.value_width) / shared


def _activation_bytes(anatomy: Anatomy, tokens: int, sequences: int, parts: int) -> int:
    """The widest moment of the profiling run."""
    shape = anatomy.shape
    dense = max(shape.feed_forward_lengths, default=0)
    routed = shape.expert_used_count * (shape.expert_feed_forward_length or dense) if shape.expert_count else 0
    wide = max(routed, 0 if routed else dense) / parts
    # A routed token stands once for each expert that it visits, going in or coming out.
    narrow = shape.embedding_length * (1 + (shape.expert_used_count if routed else 0) / 3)
    return int(max(6 * tokens * (wide + narrow), 6 * sequences * shape.vocabulary_size))


def _batch(memory_bytes: float, settings: VllmSettings) -> tuple[int, int]:
    """Tokens and sequences of the largest batch, vLLM's own where they are not given."""
    is_large = memory_bytes >= LARGE_CARD_BYTES and not settings.is_a100
    batched, sequences = LARGE_BATCH if is_large else USUAL_BATCH
    return settings.batched_tokens or batched, settings.sequences or sequences


def _cache_tokens(anatomy: Anatomy, page_bytes: float, settings: VllmSettings) -> int:
    """Tokens that the pages hold, as vLLM's log says it: of requests of full length."""
    whole = request_bytes(anatomy, settings.max_model_len, settings)
    return max(0, int(page_bytes / max(whole, 1) * settings.max_model_len))


def _check(anatomy: Anatomy, settings: VllmSettings) -> None:
    if not 0 < settings.utilization <= 1:
        raise BadRequest(f"--gpu-memory-utilization is {settings.utilization}; a share above 0 and up to 1 is wanted")
    if settings.cache not in CACHE_BITS:
        raise UnknownName.among("vLLM cache type", settings.cache, ("auto", "fp8"))
    heads = anatomy.shape.head_count
    if settings.tensor_parallel < 1 or (heads and heads % settings.tensor_parallel):
        raise BadRequest(
            f"-tp {settings.tensor_parallel} does not divide {anatomy.name}'s {heads} attention heads; "
            f"take one of {', '.join(str(n) for n in (1, 2, 4, 8, 16) if heads % n == 0)}"
        )
