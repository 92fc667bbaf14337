"""The few constants of the speed model, by class of card, before anything was measured: fitted to published runs.

Source of each row: `benchmarks/data/speed.csv` (llama.cpp discussions 15013, 10879, 4167; XiongjieDai's table), for
2026's builds llmfit's community runs, and our own, `measured.csv`; fitted by least absolute deviation of the logarithm,
`benchmarks/planner.py` prints what leaving each device out in turn costs.
"""

import csv
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path

from pennyweight.planner.footprint import Family

TABLE = Path(__file__).parent / "card_classes.csv"

Shares = tuple[tuple[Family, float], ...]

PROMPT_LAYER = 2.4
"""What a block costs a micro-batch of a prompt beside its products, over what it costs a token: RTX 5080 to PRO 6000,
whose realised share of arithmetic falls as they grow (1.95 to 1.56 on one 7B model)."""

K3_SHARE, IQ4_SHARE = 0.8, 0.98
"""Of K's efficiency, that of Q2_K and Q3_K, and of IQ4_XS: 268 and 323 of Q4_K_M's 329 GiB/s on one machine (llama.cpp,
tools/quantize/README.md). IQ formats of fewer bits read at 149 to 237 there, at 0.77 and 0.85 of K on newer cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardClass:
    """Cards that share constants.

    Attributes:
        architectures: of `cards.ARCHITECTURES`.
        efficiency: for F16, Q8_0, Q4_0, K and IQ, in this order; K3's and IQ4's follow from K's.
        microseconds_per_layer: of one decoder block.
        prompt_share: realised operations of prompts, for each float32 operation of the shaders.
        source: the rows it was fitted to.
        prompt_microseconds_per_layer: of one block, a micro-batch of a prompt; 0: `PROMPT_LAYER` times the other.
        prompt_shares: see `Rates`.
        expert_tokens: see `Rates`: 60 of an RX 7900 XT with gpt-oss-20b of discussion 15396.
        unpacking: bytes/s at which weights of a family are unpacked, whatever the memory could give, where that counts:
            then seconds per byte are 1 / (efficiency · bandwidth) + 1 / unpacking.
        cache: efficiency of reading a float16 cache: 0.75 of an RTX 5080 (`depth.csv`).
        small_kernels: see `Rates`; 0 on Apple's, where Gemma 2 and 3 (M4 Pro) and gpt-oss (M1 Max, M2 Ultra, M4 Max)
            are as fast as their bytes and blocks say.
    """

    name: str
    architectures: tuple[str, ...]
    efficiency: tuple[float, float, float, float, float]
    microseconds_per_layer: float
    prompt_share: float
    source: str
    prompt_microseconds_per_layer: float
    prompt_shares: Shares
    expert_tokens: float
    unpacking: Shares
    cache: float
    small_kernels: float

    @property
    def prompt_seconds_per_layer(self) -> float:
        """What a block costs a micro-batch of a prompt beside its products."""
        return 1e-6 * (self.prompt_microseconds_per_layer or PROMPT_LAYER * self.microseconds_per_layer)

    def shares(self, bandwidth: float) -> Shares:
        """Part of `bandwidth` at which a card of this class reads each family."""
        unpacking = dict(self.unpacking)
        plain = _by_family(self.efficiency)
        return tuple((family, unpacked(share, bandwidth, unpacking.get(family, inf))) for family, share in plain)


def _by_family(efficiency: tuple[float, float, float, float, float]) -> Shares:
    f16, q8_0, q4_0, k, iq = efficiency
    return tuple(zip(Family, (f16, q8_0, q4_0, k, k * K3_SHARE, k * IQ4_SHARE, iq), strict=True))


def unpacked(share: float, bandwidth: float, rate: float) -> float:
    """Part of `bandwidth` that is left of `share` of it where bytes are also unpacked, at `rate` bytes/s."""
    return 1 / (1 / share + bandwidth / rate)


UNPACKING = (
    (Family.Q8_0, 9.6e12),
    (Family.LEGACY, 3.2e12),
    (Family.K, 3.2e12),
    (Family.K3, 1.4e12),
    (Family.IQ4, 4.5e12),
    (Family.IQ, 2.0e12),
)
"""Bytes/s at which datacentre cards unpack weights for one token. With this one rate K-quants read at 0.58 of an A100's
bandwidth, 0.57 of an H100 PCIe's and 0.38 of an H200's, as they were measured to. IQ: assumed."""

DATACENTER_PROMPTS = (
    (Family.F16, 1.5),
    (Family.Q8_0, 1.25),
    (Family.K3, 0.73),
    (Family.IQ4, 1.25),
)
"""Of the operations/s with Q4_0: an 8B model in four types on an H200 (10,445 tokens/s as Q8_0, 6,907 as Q2_K); F16
over K-quants on A100 and H100."""


@cache
def classes() -> tuple[CardClass, ...]:
    """Every class of `card_classes.csv`; the last is of cards of unknown make."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        return tuple(_class(row) for row in csv.DictReader(file))


def _class(row: dict[str, str]) -> CardClass:
    unpack = float(row["unpack_f16_gb_s"] or 0) * 1e9
    f16, q8_0, q4_0, k, iq = (float(row[name]) for name in ("f16", "q8_0", "q4_0", "k", "iq"))
    return CardClass(
        name=row["name"],
        architectures=tuple(row["architectures"].split()),
        efficiency=(f16, q8_0, q4_0, k, iq),
        microseconds_per_layer=float(row["layer_us"]),
        prompt_share=float(row["prompt_share"]),
        source=row["source"],
        prompt_microseconds_per_layer=float(row["prompt_layer_us"] or 0),
        prompt_shares=DATACENTER_PROMPTS if unpack else (),
        expert_tokens=float(row["expert_tokens"]),
        unpacking=((Family.F16, unpack), *UNPACKING) if unpack else (),
        cache=float(row["cache"]),
        small_kernels=float(row["small_kernels"]),
    )
