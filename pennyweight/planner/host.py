"""The machine around the card: its memory, how fast the processor reads it, and what prompts cost there."""

from dataclasses import dataclass

from pennyweight.planner.footprint import Family
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import Rates

READ_SHARE = 0.56
"""Of the memory bandwidth that a data sheet or a copy shows, what decoding on the processor reaches: the median of
eight hosts (`benchmarks/data/hosts.csv`; 0.54 to 0.61 on five of them, 0.72 on a mini PC of one channel, 0.44 on a
quad-channel i9-10900X, 0.33 on an EPYC of 24 cores and twelve channels), each the median of its runs. A host left out
is 10 % off in the median (`benchmarks/planner.py`). Formats differ less: 0.55 to 0.63 from Q5_0 to Q8_0 on one EPYC."""

CACHE_READ_SHARE = 0.21
"""The same of the cache of blocks that stay there. No run at hand tells it: assumed to be far below that of weights."""

ASSUMED_BANDWIDTH = 89.6e9
"""Bytes/s of a host that was not measured, by the data sheet: two channels of DDR5-5600."""

FLOPS_PER_CORE = 45e9
"""Operations/s of one core on a prompt: 26.5 tokens/s of a 7B Q4_K_M on eight cores (llama.cpp issue 7244)."""

RESERVED_BYTES = 2 << 30
"""What the system and its programs need of host memory; less than that, and weights are read from the disk again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Host memory and processor.

    Attributes:
        memory_bytes: in all; 0 where nothing is known, and then nothing is refused for it.
        available_bytes: what is free for a model now.
        bandwidth: bytes/s, by the data sheet or as a copy of large arrays sees it.
        cores: of the processor that compute.
        basis, source: how the bandwidth is known: measured, given by hand or assumed.
        windows: whether drivers page a full card's memory to the host's instead of refusing.
    """

    memory_bytes: int = 0
    available_bytes: int = 0
    bandwidth: float = ASSUMED_BANDWIDTH
    cores: int = 8
    basis: Basis = Basis.HEURISTIC
    source: str = "two channels of DDR5-5600 assumed"
    windows: bool = False


def host_rates(host: Host) -> Rates:
    """What the processor does with blocks that are left to it."""
    return Rates(
        bandwidth=host.bandwidth,
        efficiency=tuple((family, READ_SHARE) for family in Family),
        cache_efficiency=tuple((family, CACHE_READ_SHARE) for family in Family),
        seconds_per_layer=20e-6,
        prompt_flops=host.cores * FLOPS_PER_CORE,
        attention_share=0.3,
        basis=Basis.HEURISTIC,
        source=f"processor: {READ_SHARE:.0%} of the host's {host.bandwidth / 1e9:.0f} GB/s, {host.source}",
        spread=0.25,
    )
