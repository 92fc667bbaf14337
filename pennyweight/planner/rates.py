"""The few constants of the speed model, by class of card, before anything was measured: fitted to published runs.

    seconds per token = Σ bytes read by family / (efficiency · bandwidth)  +  layers · seconds per layer  +  depth

One efficiency for all (0.55, as others have it) is the wrong model: a card reads nearly at its bandwidth, and then each
layer costs the same again, whatever it weighs. So small models and fast cards look inefficient and are not.

Source of each row: `benchmarks/data/speed.csv` (llama.cpp discussions 15013, 10879, 4167; XiongjieDai's table) and, for
2026's builds, llmfit's community runs; fitted by least absolute deviation of the logarithm, `benchmarks/planner.py`
prints what leaving each device out in turn costs.
"""

from dataclasses import dataclass

from pennyweight.planner.cards import Card
from pennyweight.planner.footprint import Family
from pennyweight.planner.quantity import Basis

Shares = tuple[tuple[Family, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast one device reads and computes.

    Attributes:
        bandwidth: bytes/s that `efficiency` is a part of.
        efficiency: part of the bandwidth at which weights of a family are read.
        cache_efficiency: the same of the cache, by its type's family.
        seconds_per_layer: cost of one decoder block beside its bytes.
        prompt_flops: operations/s of a prompt's matrix products.
        attention_share: of `prompt_flops`, what attention over a long prompt reaches.
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

    def read_seconds(self, nbytes: float, shares: Shares) -> float:
        """Seconds to read weights of these families."""
        table = dict(self.efficiency)
        return sum(nbytes * share / (table[family] * self.bandwidth) for family, share in shares)

    def cache_seconds(self, nbytes: float, family: Family) -> float:
        """Seconds to read that much of the cache."""
        return nbytes / (dict(self.cache_efficiency)[family] * self.bandwidth)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardClass:
    """Cards that share constants.

    Attributes:
        architectures: of `cards.ARCHITECTURES`.
        efficiency: for F16, Q8_0, Q4_0, K and IQ, in this order; K3's and IQ4's follow from K's.
        microseconds_per_layer: of one decoder block.
        prompt_share: realised operations of prompts, for each float32 operation of the shaders.
        source: the rows it was fitted to.
    """

    name: str
    architectures: tuple[str, ...]
    efficiency: tuple[float, float, float, float, float]
    microseconds_per_layer: float
    prompt_share: float
    source: str


CLASSES = (
    CardClass(
        name="NVIDIA, datacenter memory",
        architectures=("HBM",),
        efficiency=(0.55, 0.55, 0.55, 0.58, 0.40),
        microseconds_per_layer=70,
        prompt_share=2.6,
        source="A100 and H100, discussion 15013 and XiongjieDai: one stream never fills so wide a memory",
    ),
    CardClass(
        name="NVIDIA RTX 40 and 50",
        architectures=("Ada", "Blackwell"),
        efficiency=(0.90, 0.90, 0.89, 0.85, 0.68),
        microseconds_per_layer=42,
        prompt_share=2.0,
        source="RTX 4050 to 5090 of discussion 15013, RTX 5070 and GB10 of llmfit's community runs",
    ),
    CardClass(
        name="NVIDIA RTX 30",
        architectures=("Ampere",),
        efficiency=(0.90, 0.90, 0.89, 0.87, 0.66),
        microseconds_per_layer=57,
        prompt_share=2.0,
        source="RTX 3050 Laptop and 3090 of discussion 15013",
    ),
    CardClass(
        name="NVIDIA RTX 20",
        architectures=("Turing", "Volta"),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.60),
        microseconds_per_layer=78,
        prompt_share=2.0,
        source="RTX 2080 of llmfit's community runs",
    ),
    CardClass(
        name="NVIDIA GTX 10",
        architectures=("Pascal",),
        efficiency=(0.70, 0.60, 0.55, 0.42, 0.30),
        microseconds_per_layer=170,
        prompt_share=1.0,
        source="GTX 1050 Ti of llmfit's community runs; other families assumed",
    ),
    CardClass(
        name="AMD RDNA 4",
        architectures=("RDNA4",),
        efficiency=(0.93, 0.93, 0.95, 0.93, 0.70),
        microseconds_per_layer=35,
        prompt_share=1.5,
        source="RX 9070 XT and R9700 of discussion 10879 (Vulkan)",
    ),
    CardClass(
        name="AMD RDNA 3 and before",
        architectures=("RDNA3", "RDNA3.5", "RDNA2", "RDNA1"),
        efficiency=(0.91, 0.91, 0.91, 0.91, 0.65),
        microseconds_per_layer=65,
        prompt_share=0.85,
        source="RX 7900 XT of llmfit's community runs, RX 7900 XTX of discussion 10879",
    ),
    CardClass(
        name="AMD GCN and CDNA",
        architectures=("GCN4", "GCN5", "CDNA1", "CDNA2", "CDNA3", "CDNA4"),
        efficiency=(0.55, 0.55, 0.55, 0.50, 0.35),
        microseconds_per_layer=90,
        prompt_share=0.8,
        source="assumed to be as NVIDIA's datacenter memory; no run at hand",
    ),
    CardClass(
        name="Intel",
        architectures=("Xe-LPG", "Xe-HPG", "Xe2"),
        efficiency=(0.65, 0.65, 0.62, 0.60, 0.45),
        microseconds_per_layer=210,
        prompt_share=0.74,
        source="Arc A770, Core Ultra 200 and Iris Xe of discussion 10879",
    ),
    CardClass(
        name="Apple M1",
        architectures=("M1",),
        efficiency=(0.86, 0.86, 0.84, 0.52, 0.40),
        microseconds_per_layer=190,
        prompt_share=0.69,
        source="M1 to M1 Ultra of discussion 4167; M1 Max's K-quants of XiongjieDai",
    ),
    CardClass(
        name="Apple M2",
        architectures=("M2",),
        efficiency=(0.91, 0.92, 0.94, 0.75, 0.60),
        microseconds_per_layer=185,
        prompt_share=0.66,
        source="M2 to M2 Ultra of discussion 4167 and of XiongjieDai",
    ),
    CardClass(
        name="Apple M3",
        architectures=("M3",),
        efficiency=(0.93, 0.93, 0.93, 0.80, 0.65),
        microseconds_per_layer=150,
        prompt_share=0.72,
        source="M3 to M3 Max of discussion 4167 and of XiongjieDai",
    ),
    CardClass(
        name="Apple M4 and later",
        architectures=("M4", "M5"),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.70),
        microseconds_per_layer=105,
        prompt_share=0.65,
        source="M4 and M4 Max of discussion 4167, M4 Pro of llmfit's community runs",
    ),
)

UNKNOWN = CardClass(
    name="a card of unknown make",
    architectures=("",),
    efficiency=(0.85, 0.85, 0.85, 0.80, 0.60),
    microseconds_per_layer=80,
    prompt_share=1.0,
    source="the middle of the classes",
)

DATACENTER_BANDWIDTH = 1.2e12
"""Bytes/s from which an NVIDIA card of the Volta, Ampere, Hopper line has stacked memory."""

K3_SHARE, IQ4_SHARE = 0.8, 0.98
"""Of K's efficiency, that of Q2_K and Q3_K, and of IQ4_XS: 268 and 323 of Q4_K_M's 329 GiB/s on one machine (llama.cpp,
tools/quantize/README.md). IQ formats of fewer bits read at 149 to 237 there, at 0.77 and 0.85 of K on newer cards."""

SHARED_SHARE = 0.83
"""Of the data sheet's bandwidth that PC memory on the board gives a GPU: 212 of 256 GB/s on Strix Halo. The classes of
Apple and Intel were fitted to shared memory and need no such share."""

CACHE_EFFICIENCY = (
    (Family.F16, 0.75),
    (Family.Q8_0, 0.40),
    (Family.LEGACY, 0.17),
    (Family.K, 0.17),
    (Family.K3, 0.17),
    (Family.IQ4, 0.17),
    (Family.IQ, 0.17),
)
"""Of bandwidth, reading the cache: RTX 5080 with float16, RTX 4070 with q8_0 (0.30 to 0.52) and q4_0 (`depth.csv`)."""

CARD_TABLE_SPREAD = 0.12
"""Median error of decode speed from the card table alone, a device left out at a time: see `benchmarks/planner.py`."""


def class_of(card: Card) -> CardClass:
    """The class whose constants a card gets."""
    wide = card.vendor == "NVIDIA" and card.architecture in ("Ampere", "Volta", "Hopper", "Blackwell", "Pascal")
    stacked = wide and card.bandwidth > DATACENTER_BANDWIDTH and not card.name.startswith("RTX")
    wanted = "HBM" if stacked or card.architecture == "Hopper" else card.architecture
    return next((group for group in CLASSES if wanted in group.architectures), UNKNOWN)


def card_rates(card: Card) -> Rates:
    """What the card table alone says."""
    group = class_of(card)
    shared = SHARED_SHARE if card.unified and card.vendor in ("NVIDIA", "AMD") else 1.0
    return Rates(
        bandwidth=card.bandwidth * shared,
        efficiency=_by_family(group.efficiency),
        cache_efficiency=CACHE_EFFICIENCY,
        seconds_per_layer=group.microseconds_per_layer * 1e-6,
        prompt_flops=card.prompt_flops or card.fp32_flops * group.prompt_share,
        attention_share=0.45,
        basis=Basis.HEURISTIC,
        source=f"card table: {group.name} ({group.source})",
        spread=CARD_TABLE_SPREAD,
    )


def _by_family(efficiency: tuple[float, float, float, float, float]) -> Shares:
    f16, q8_0, q4_0, k, iq = efficiency
    return tuple(zip(Family, (f16, q8_0, q4_0, k, k * K3_SHARE, k * IQ4_SHARE, iq), strict=True))
