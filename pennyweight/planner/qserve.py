"""QServe's memory: how many requests of W4A8KV4 a card holds, to be held against the batches its authors used.

    batch = (memory − weights) / (pages of a request + activations of its prompt)

QServe reads all prompts at once: its activations grow with the batch. For each token: gate and up at 16 bits (4 f
bytes), their product at 8 (f), queries, keys and values at 16, four vectors of the residual's width at 16. A page is 64
tokens, and a request of 1024 + 512 tokens is given 25 of them.

Source: omniserve scripts/qserve_benchmark (pages, flags), arXiv 2405.04532 (formats).
"""

from dataclasses import dataclass, replace
from math import ceil

from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.served_types import get, served_bytes
from pennyweight.planner.vllm import VllmSettings, request_bytes

PAGE_TOKENS = 64
USABLE = 0.98
"""Of the memory that a card reports: the driver's context is the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QServeMemory:
    """Bytes by purpose, and the largest batch."""

    weights_bytes: int
    request_bytes: int
    prompt_bytes: int
    batch: int


def qserve_memory(
    anatomy: Anatomy, memory_bytes: float, prompt_tokens: int, output_tokens: int, *, per_channel: bool = False
) -> QServeMemory:
    """Plan one card for requests of that length; `per_channel`: without groups, as its authors do on an A100."""
    kind = get("W4A8KV4")
    kind = replace(kind, bits=4.0, row_bytes=4) if per_channel else kind
    pages = ceil((prompt_tokens + output_tokens) / PAGE_TOKENS) + 1
    settings = VllmSettings(max_model_len=pages * PAGE_TOKENS, cache="int4", page_tokens=PAGE_TOKENS)
    weights = served_bytes(anatomy, kind)
    request = request_bytes(anatomy, pages * PAGE_TOKENS, settings)
    prompt = prompt_tokens * _token_bytes(anatomy)
    batch = int((USABLE * memory_bytes - weights) // (request + prompt))
    return QServeMemory(weights_bytes=weights, request_bytes=request, prompt_bytes=prompt, batch=max(batch, 0))


def _token_bytes(anatomy: Anatomy) -> int:
    shape = anatomy.shape
    heads = (shape.head_count + 2 * shape.head_count_kv) * shape.key_length
    return 5 * max(shape.feed_forward_lengths, default=0) + 2 * heads + 8 * shape.embedding_length
