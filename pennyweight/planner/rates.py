"""The few constants of the speed model, by class of card, before anything was measured: fitted to published runs.

    seconds of a token = Σ bytes read by family / (efficiency · bandwidth)  +  layers · seconds per layer
                         +  depth  +  what it costs beside its layers

One efficiency for all (0.55, as others have it) is the wrong model: a card reads nearly at its bandwidth, and then each
layer costs the same again, whatever it weighs. So small models and fast cards look inefficient and are not.
"""

from dataclasses import dataclass

from pennyweight.planner.card_classes import CardClass, Shares, classes
from pennyweight.planner.cards import Card
from pennyweight.planner.footprint import Family
from pennyweight.planner.quantity import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast one device reads and computes.

    Attributes:
        bandwidth: bytes/s that `efficiency` is a part of.
        efficiency: part of the bandwidth at which weights of a family are read.
        cache_efficiency: the same of the cache, by its type's family.
        seconds_per_layer: cost of one decoder block beside its bytes.
        seconds_per_token: what a token costs beside its blocks (the runtime's turn, the logits' way to the host). Only
            a calibration's models of few blocks tell it: published runs, of 16 to 80, are fitted as well without.
        prompt_flops: operations/s of a prompt's matrix products.
        prompt_shares: of these, families that are not as fast as Q4_0, or faster.
        prompt_seconds_per_layer: what a decoder block costs beside them, for each micro-batch.
        expert_tokens: tokens that a micro-batch would have to have more to cost as much as touching one expert does:
            its weights are unpacked for few tokens, and its products fill no tile.
        attention_share: of `prompt_flops`, what attention over a long prompt reaches.
        small_kernels: whether a block's small kernels (`BlockBytes.small_kernels`) cost what they do on most cards: 1,
            or nothing: 0.
        basis, source: how these are known.
        spread: relative error to expect of decode speed, half of all cases below.
    """

    bandwidth: float
    efficiency: Shares
    cache_efficiency: Shares
    seconds_per_layer: float
    prompt_flops: float
    attention_share: float
    basis: Basis
    source: str
    spread: float
    prompt_shares: Shares = ()
    prompt_seconds_per_layer: float = 0.0
    expert_tokens: float = 0.0
    small_kernels: float = 1.0
    seconds_per_token: float = 0.0

    def read_seconds(self, nbytes: float, shares: Shares) -> float:
        """Seconds to read weights of these families."""
        table = dict(self.efficiency)
        return sum(nbytes * share / (table[family] * self.bandwidth) for family, share in shares)

    def prompt_seconds(self, operations: float, shares: Shares) -> float:
        """Seconds of a prompt's products with weights of these families."""
        table = dict(self.prompt_shares)
        slowed = sum(share / table.get(family, 1.0) for family, share in shares) if shares else 1.0
        return operations * slowed / self.prompt_flops

    def cache_seconds(self, nbytes: float, family: Family) -> float:
        """Seconds to read that much of the cache."""
        return nbytes / (dict(self.cache_efficiency)[family] * self.bandwidth)


DATACENTER_BANDWIDTH = 1.2e12
"""Bytes/s from which an NVIDIA card of the Volta, Ampere, Hopper line has stacked memory."""

SHARED_SHARE = 0.83
"""Of the data sheet's bandwidth that PC memory on the board gives a GPU: 212 of 256 GB/s on Strix Halo. The classes of
Apple and Intel were fitted to shared memory and need no such share."""

CACHE_Q8_0, CACHE_LEGACY = (0.40, 7.1e-3), (0.17, 3.0e-3)
"""Reading a quantized cache: at most this part of the bandwidth, and this many bytes for each float32 operation of the
shaders. llama.cpp unpacks it anew for each query head, so what binds is arithmetic: an RTX 4070 read q8_0 at 0.30 to
0.52 of 504 GB/s and q4_0 at 0.17 (`depth.csv`), an H200 q8_0 at 0.10 of 4.8 TB/s (`measured.csv`), 7 bytes for a
thousand operations both."""

CARD_TABLE_SPREAD = 0.12
"""Median error of decode speed from the card table alone, a device left out at a time: see `benchmarks/planner.py`."""


def class_of(card: Card) -> CardClass:
    """The class whose constants a card gets."""
    wide = card.vendor == "NVIDIA" and card.architecture in ("Ampere", "Volta", "Hopper", "Blackwell", "Pascal")
    stacked = wide and card.bandwidth > DATACENTER_BANDWIDTH and not card.name.startswith("RTX")
    wanted = "HBM" if stacked and card.architecture != "Hopper" else card.architecture
    return next((group for group in classes() if wanted in group.architectures), classes()[-1])


def card_rates(card: Card) -> Rates:
    """What the card table alone says."""
    group = class_of(card)
    shared = SHARED_SHARE if card.unified and card.vendor in ("NVIDIA", "AMD") else 1.0
    return Rates(
        bandwidth=card.bandwidth * shared,
        efficiency=group.shares(card.bandwidth * shared),
        cache_efficiency=_cache_efficiency(card, group),
        seconds_per_layer=group.microseconds_per_layer * 1e-6,
        prompt_flops=card.prompt_flops or card.fp32_flops * group.prompt_share,
        attention_share=0.45,
        prompt_shares=group.prompt_shares,
        prompt_seconds_per_layer=group.prompt_seconds_per_layer,
        expert_tokens=group.expert_tokens,
        small_kernels=group.small_kernels,
        basis=Basis.HEURISTIC,
        source=f"card table: {group.name} ({group.source})",
        spread=CARD_TABLE_SPREAD,
    )


def _cache_efficiency(card: Card, group: CardClass) -> Shares:
    q8_0, other = (min(share, each * card.fp32_flops / card.bandwidth) for share, each in (CACHE_Q8_0, CACHE_LEGACY))
    return tuple((f, {Family.F16: group.cache, Family.Q8_0: q8_0}.get(f, other)) for f in Family)
