"""The few constants of the speed model, by class of card, before anything was measured: fitted to published runs.

Source of each row: `benchmarks/data/speed.csv` (llama.cpp discussions 15013, 10879, 4167; XiongjieDai's table), for
2026's builds llmfit's community runs, and our own, `measured.csv`; fitted by least absolute deviation of the logarithm,
`benchmarks/planner.py` prints what leaving each device out in turn costs.
"""

from dataclasses import dataclass
from math import inf

from pennyweight.planner.footprint import Family

Shares = tuple[tuple[Family, float], ...]

EXPERT_TOKENS = 60.0
"""See `Rates`: RX 7900 XT, gpt-oss-20b of discussion 15396."""

PROMPT_LAYER = 2.4
"""What a block costs a micro-batch of a prompt beside its products, over what it costs a token: RTX 5080 to PRO 6000,
whose realised share of arithmetic falls as they grow (1.95 to 1.56 on one 7B model)."""

CACHE_F16 = 0.75
"""Of bandwidth, reading a float16 cache: RTX 5080 (`depth.csv`)."""

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
        expert_tokens: see `Rates`.
        unpacking: bytes/s at which weights of a family are unpacked, whatever the memory could give, where that counts:
            then seconds per byte are 1 / (efficiency · bandwidth) + 1 / unpacking.
        cache: efficiency of reading a float16 cache.
        small_kernels: see `Rates`; 0 on Apple's, where Gemma 2 and 3 (M4 Pro) and gpt-oss (M1 Max, M2 Ultra, M4 Max)
            are as fast as their bytes and blocks say.
    """

    name: str
    architectures: tuple[str, ...]
    efficiency: tuple[float, float, float, float, float]
    microseconds_per_layer: float
    prompt_share: float
    source: str
    prompt_microseconds_per_layer: float = 0.0
    prompt_shares: Shares = ()
    expert_tokens: float = EXPERT_TOKENS
    unpacking: Shares = ()
    cache: float = CACHE_F16
    small_kernels: float = 1.0

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

CLASSES = (
    CardClass(
        name="NVIDIA Hopper",
        architectures=("Hopper",),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.90),
        unpacking=((Family.F16, 8e12), *UNPACKING),
        microseconds_per_layer=45,
        prompt_share=2.6,
        prompt_microseconds_per_layer=400,
        prompt_shares=DATACENTER_PROMPTS,
        expert_tokens=110,
        cache=0.50,
        source="H100 of discussion 15013 and XiongjieDai; H200 measured here on 2026-11-26",
    ),
    CardClass(
        name="NVIDIA, datacenter memory",
        architectures=("HBM",),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.90),
        unpacking=((Family.F16, 2.5e12), *UNPACKING),
        microseconds_per_layer=75,
        prompt_share=3.9,
        prompt_microseconds_per_layer=400,
        prompt_shares=DATACENTER_PROMPTS,
        expert_tokens=110,
        cache=0.50,
        source="A100 of discussion 15013 and XiongjieDai; a prompt's layers as on an H100 and H200",
    ),
    CardClass(
        name="NVIDIA RTX 40 and 50",
        architectures=("Ada", "Blackwell"),
        efficiency=(0.90, 0.90, 0.89, 0.85, 0.68),
        microseconds_per_layer=42,
        prompt_share=2.1,
        expert_tokens=110,
        source="RTX 4050 to 5090 of discussion 15013, RTX 5070 and GB10 of llmfit's community runs",
    ),
    CardClass(
        name="NVIDIA RTX 30",
        architectures=("Ampere",),
        efficiency=(0.90, 0.90, 0.89, 0.87, 0.66),
        microseconds_per_layer=57,
        prompt_share=2.0,
        expert_tokens=110,
        source="RTX 3050 Laptop and 3090 of discussion 15013",
    ),
    CardClass(
        name="NVIDIA RTX 20",
        architectures=("Turing", "Volta"),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.60),
        microseconds_per_layer=78,
        prompt_share=2.0,
        expert_tokens=110,
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
        expert_tokens=25,
        small_kernels=0,
        source="M1 to M1 Ultra of discussion 4167; M1 Max's K-quants of XiongjieDai",
    ),
    CardClass(
        name="Apple M2",
        architectures=("M2",),
        efficiency=(0.91, 0.92, 0.94, 0.75, 0.60),
        microseconds_per_layer=185,
        prompt_share=0.66,
        expert_tokens=25,
        small_kernels=0,
        source="M2 to M2 Ultra of discussion 4167 and of XiongjieDai",
    ),
    CardClass(
        name="Apple M3",
        architectures=("M3",),
        efficiency=(0.93, 0.93, 0.93, 0.80, 0.65),
        microseconds_per_layer=150,
        prompt_share=0.72,
        expert_tokens=25,
        small_kernels=0,
        source="M3 to M3 Max of discussion 4167 and of XiongjieDai",
    ),
    CardClass(
        name="Apple M4 and later",
        architectures=("M4", "M5"),
        efficiency=(0.90, 0.90, 0.90, 0.90, 0.70),
        microseconds_per_layer=105,
        prompt_share=0.65,
        expert_tokens=25,
        small_kernels=0,
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
