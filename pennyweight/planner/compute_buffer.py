"""Bytes that llama.cpp's graph needs beside weights and cache: the compute buffer, in closed forms by era.

The buffer is the peak over the stages of a graph of `micro_batch` tokens, all in float32 (4 bytes):

    logits       rows · vocabulary + k · width                        rows: tokens whose logits are kept
    feed-forward 2 or 3 · used width + k · width                      used width: of all experts a token goes through
    experts      2 · experts used · width + 3 · width
    attention    without flash attention: heads · context + 4 · width; with it max(2 q, q + 3 kv) + k · width

and beside the peak lies the attention mask, context tokens for each token: float32 without flash attention, float16
with it. With several cards, pipeline copies make that four masks and four residual streams on each. Weights that the
host lends for a prompt need room for the two largest matrices.

Source: logs of `memory.csv` (reference formulas 2.7) for builds before mid-2026; for later ones llama.cpp b11549's own
log lines of generated models, which these forms give to the byte of a MiB's hundredth where the feed-forward is wider
than the residual stream (tests/planner/test_compute_buffer.py).
"""

from dataclasses import dataclass
from enum import StrEnum

from pennyweight.planner.request import Settings

PIPELINE_COPIES = 4
"""GGML_SCHED_MAX_COPIES: what of the inputs a scheduler over several cards keeps."""


class Era(StrEnum):
    """How a llama.cpp reserves its worst graph."""

    FULL_LOGITS = "before mid-2026: logits of a whole micro-batch are reserved"
    KEPT_LOGITS = "since mid-2026: logits of the tokens that are asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphShape:
    """What of a model decides its compute buffer.

    Attributes:
        width: of the residual stream.
        feed_forward: of the widest dense feed-forward; 0 without one.
        heads, head_length, kv_heads: of attention.
        expert_used, expert_feed_forward: experts a token goes through, and the width of one.
        largest_matrix: bytes of the largest matrix of a block, all experts of a kind as one.
    """

    vocabulary: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_length: int
    expert_used: int = 0
    expert_feed_forward: int = 0
    largest_matrix: int = 0

    @property
    def used_feed_forward(self) -> int:
        """Numbers of one token between the two halves of a feed-forward."""
        return max(self.feed_forward, self.expert_used * self.expert_feed_forward)


def compute_buffer(
    graph: GraphShape,
    settings: Settings,
    *,
    cards: int = 1,
    streams: bool = False,
    era: Era = Era.KEPT_LOGITS,
    logit_rows: int | None = None,
) -> int:
    """Bytes on each card.

    Args:
        cards: how many share the model.
        streams: whether weights on the host are lent to the card for prompts.
        logit_rows: tokens of a micro-batch whose logits are kept; None for one of each slot, as llama-server asks for
            (llama-bench and llama-perplexity keep all). Of an older era all are kept in any case.
    """
    tokens = min(settings.micro_batch, settings.context * settings.slots)
    rows = min(settings.slots if logit_rows is None else logit_rows, tokens)
    peak = max(_logits(graph, rows, tokens, era), 4 * tokens * _block(graph, settings, era))
    inputs = _mask(settings, tokens)
    if cards > 1:
        inputs = PIPELINE_COPIES * (inputs + 4 * tokens * graph.width)
    elif era is Era.FULL_LOGITS and settings.flash_attention:
        # The mask of these builds is dead before logits are made, and smaller than they are up to long contexts.
        peak, inputs = max(peak, inputs + 4 * tokens * _block(graph, settings, era)), 0
    if streams:
        lent = 2 * graph.largest_matrix + 4 * tokens * _block(graph, settings, era)
        peak = max(peak, lent)
    return peak + inputs


def _logits(graph: GraphShape, rows: int, tokens: int, era: Era) -> int:
    if era is Era.FULL_LOGITS:  # k between 1 (llama.cpp) and 2 (ik_llama.cpp)
        return 4 * tokens * graph.vocabulary + 6 * tokens * graph.width
    return 4 * (rows * graph.vocabulary + 5 * tokens * graph.width)


def _block(graph: GraphShape, settings: Settings, era: Era) -> int:
    """Numbers of one token at the widest place of a block."""
    wide, idle = (2, 2) if era is Era.FULL_LOGITS else (3, 5)
    stages = [wide * graph.used_feed_forward + idle * graph.width, _attention(graph, settings, idle)]
    if graph.expert_used:
        stages.append((2 * graph.expert_used + 3) * graph.width)
    return max(stages)


def _attention(graph: GraphShape, settings: Settings, idle: int) -> int:
    if not settings.flash_attention:
        return graph.heads * _cells(settings) + 4 * graph.width
    queries, keys = graph.heads * graph.head_length, graph.kv_heads * graph.head_length
    return max(2 * queries, queries + 3 * keys) + idle * graph.width


def _cells(settings: Settings) -> int:
    """Cells of the cache that one token may look at, padded to 256."""
    return -(-settings.context // 256) * 256


def _mask(settings: Settings, tokens: int) -> int:
    return (2 if settings.flash_attention else 4) * _cells(settings) * tokens
