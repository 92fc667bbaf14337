"""Seconds: of one more token, of a prompt, and of many requests at once.

Decoding is a serial sum: the card reads its blocks, then the processor its own (llama.cpp runs one after the other):

    t = θ + bytes_card / (η · bandwidth) + layers · τ + cache_card / (η_kv · bandwidth)  +  the same of the host

A prompt is arithmetic, a cost of each block for each micro-batch (a prompt's kernels are launched one by one, where a
token's are one graph), and the streaming of the host's weights to the card, which llama.cpp does anew for each
micro-batch and does not overlap with arithmetic:

    t = operations / F  +  batches · (layers · τ_prompt  +  bytes_host / link)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pennyweight.planner.footprint import BlockBytes, Footprint, Placement
from pennyweight.planner.quantity import Basis, Quantity
from pennyweight.planner.rates import Rates

STREAMED_FROM = 32
"""Tokens of a prompt from which weights on the host are lent to the card (llama.cpp's offload of operations)."""

STREAM_BANDWIDTH = 9e9
"""Bytes/s at which a prompt's weights come over the link at most: llama.cpp maps them from the file, in pages that the
driver first copies to a place of its own. 12 GB/s on an RTX 4070's desktop, 6.7 on an H200's host (5.0 x16, measured
2026-11-26: three partial offloads of Qwen3-8B, 5.7 to 7.9), whatever the link could do."""

EXPERT_LAYERS = 1.25
"""What a block with experts costs beside its bytes, in dense blocks: router, choice and gathering are kernels of their
own. Qwen3-30B-A3B on an RX 7900 XT and an M4 Pro (llmfit's community runs) both ask for this."""

LATENT_LAYERS = 0.4
"""What latent attention adds to it: DeepSeek-V2-Lite on the same two; fitted to one, the other is 9 and 5 % off, not 21
and 9."""

RECURRENT_LAYERS = 1.35
"""What mixing through a recurrent state adds to it, where a feed-forward follows: a convolution, gates, norms and a
scan are kernels of their own, and the state is written too. The median of four devices (0.7 on a GB10, 1.3 on an M4
Pro, 1.5 on an RX 7900 XT, 2.0 on a GTX 1050 Ti; 13 runs of Qwen3.5, Qwen3-Coder-Next and granite-4.0-h-small): left
out in turn, 16 → 3 % off. Nemotron's mixers are blocks of their own, and cost one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What runs a model: constants of card and host, and the link between.

    Attributes:
        card: None where there is no card.
        link_bandwidth: bytes/s from host memory to the card; infinite where they are one.
    """

    card: Rates | None
    host: Rates
    link_bandwidth: float = math.inf


def decode_seconds(placement: Placement, machine: Machine, depth: float = 0.0) -> float:
    """Seconds of the token after `depth` others."""
    footprint, card = placement.footprint, machine.card or machine.host
    seconds = card.seconds_per_token + card.read_seconds(placement.card_read, footprint.shares)
    seconds += machine.host.read_seconds(placement.host_read, footprint.shares)
    seconds += _blocks_seconds(placement.on_card, card, footprint, depth)
    return seconds + _blocks_seconds(placement.on_host, machine.host, footprint, depth)


def _blocks_seconds(blocks: tuple[BlockBytes, ...], rates: Rates, footprint: Footprint, depth: float) -> float:
    run = [block for block in blocks if not block.idle]
    cache = sum(block.depth_read(depth) for block in run)
    layers = _layers(run) + sum(
        rates.small_kernels * block.small_kernels + LATENT_LAYERS * block.latent + RECURRENT_LAYERS * block.recurrent
        for block in run
    )
    return layers * rates.seconds_per_layer + rates.cache_seconds(cache, footprint.cache_family)


def _layers(blocks: Sequence[BlockBytes]) -> float:
    """What blocks cost beside their bytes, in dense ones: of a prompt all that is known of it."""
    return sum(EXPERT_LAYERS if block.experts else 1 for block in blocks)


def decode_speed(placement: Placement, machine: Machine, depth: float = 0.0) -> Quantity:
    """Tokens/s after `depth` tokens, with the range that the constants' spread leaves."""
    value = 1 / decode_seconds(placement, machine, depth)
    return _with_spread(value, machine, placement)


def _with_spread(value: float, machine: Machine, placement: Placement) -> Quantity:
    rates = [machine.host] if placement.host_read > 0 or machine.card is None else []
    rates += [machine.card] if machine.card is not None else []
    worst = max(rates, key=lambda r: r.spread)
    order = list(Basis)
    basis = max((r.basis for r in rates), key=order.index)
    source = "; ".join(dict.fromkeys(r.source for r in rates))
    return Quantity(
        value=value, basis=basis, source=source, low=value / (1 + 2 * worst.spread), high=value * (1 + 2 * worst.spread)
    )


def prompt_seconds(
    placement: Placement, machine: Machine, tokens: int, *, micro_batch: int = 512, depth: int = 0
) -> float:
    """Seconds to read a prompt of `tokens` behind `depth` others."""
    if tokens <= 0:
        return 0.0
    footprint = placement.footprint
    share = placement.host_read / footprint.read if footprint.read else 0.0
    attention = 4 * footprint.attention_numbers * tokens * (depth + tokens / 2)
    card, host = (
        _products_seconds(footprint, rates, tokens, micro_batch)
        for rates in (machine.card or machine.host, machine.host)
    )
    if machine.card is None:
        return host + _attention_seconds(machine.host, attention)
    if tokens < STREAMED_FROM:
        return card * (1 - share) + host * share + _attention_seconds(machine.card, attention)
    link = (
        machine.link_bandwidth if math.isinf(machine.link_bandwidth) else min(machine.link_bandwidth, STREAM_BANDWIDTH)
    )
    streamed = max(placement.host_weights - footprint.embedding, 0) / link
    return card + _attention_seconds(machine.card, attention) + math.ceil(tokens / micro_batch) * streamed


def _products_seconds(footprint: Footprint, rates: Rates, tokens: int, micro_batch: int) -> float:
    """Of all products of a prompt, and what every block costs beside them for each micro-batch."""
    batches = math.ceil(tokens / micro_batch)
    operations = 2 * tokens * footprint.parameters_used - 2 * (tokens - 1) * footprint.parameters_output
    if footprint.expert_count:  # each expert that is touched costs as `expert_tokens` tokens more would
        share = experts_touched(footprint.expert_count, footprint.expert_used, min(tokens, micro_batch))
        more = batches * share * footprint.expert_count / footprint.expert_used * rates.expert_tokens
        operations += 2 * footprint.parameters_routed * more
    layers = _layers(tuple(block for block in footprint.blocks if not block.idle))
    return rates.prompt_seconds(operations, footprint.shares) + batches * layers * rates.prompt_seconds_per_layer


def _attention_seconds(rates: Rates, operations: float) -> float:
    return operations / (rates.prompt_flops * rates.attention_share)


def experts_touched(count: int, used: int, tokens: int) -> float:
    """Part of the experts that `tokens` tokens go through, if they choose evenly: 1 − (1 − used/count)^tokens."""
    return 1.0 if not count else 1 - (1 - used / count) ** tokens


def batch_decode_seconds(placement: Placement, machine: Machine, slots: int, depth: float = 0.0) -> float:
    """Seconds of one step in which each of `slots` sequences gets a token.

    Weights are read once for all of them, whether from the card or over the host (what FlexGen's cost model gains by);
    caches, each its own; and arithmetic, where that is what binds. Source: FlexGen (Sheng et al. 2023), section 4.3.
    """
    footprint, card = placement.footprint, machine.card or machine.host
    grown = _experts_growth(footprint, slots)
    single = decode_seconds(placement, machine)
    dense = single + card.read_seconds(_experts_on_card(placement) * (grown - 1), footprint.shares)
    dense += machine.host.read_seconds(_experts_on_host(placement) * (grown - 1), footprint.shares)
    arithmetic = 2 * footprint.parameters_used * slots / card.prompt_flops
    caches = slots * (decode_seconds(placement, machine, depth) - single)
    return max(dense, arithmetic) + caches


def batch_decode_speed(placement: Placement, machine: Machine, slots: int, depth: float = 0.0) -> Quantity:
    """Tokens/s of all slots together."""
    value = slots / batch_decode_seconds(placement, machine, slots, depth)
    return _with_spread(value, machine, placement)


def _experts_growth(footprint: Footprint, slots: int) -> float:
    """How many times one token's experts a step of `slots` tokens reads."""
    if not footprint.expert_count:
        return 1.0
    touched = experts_touched(footprint.expert_count, footprint.expert_used, slots)
    return touched * footprint.expert_count / footprint.expert_used


def _experts_on_card(placement: Placement) -> float:
    lent = placement.expert_blocks_on_host
    blocks = placement.footprint.blocks
    return sum(blocks[i].experts_read for i in placement.card_blocks if i not in lent and not blocks[i].idle)


def _experts_on_host(placement: Placement) -> float:
    every = sum(block.experts_read for block in placement.footprint.blocks if not block.idle)
    return every - _experts_on_card(placement)
