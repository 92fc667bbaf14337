"""Published decode runs as the planner's own types: which card, what one token reads, how fast it was."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pennyweight.planner.card_names import find_card
from pennyweight.planner.cards import Card
from pennyweight.planner.footprint import BlockBytes, Family, Footprint, shares_of
from pennyweight.planner.kv import kv_by_block
from pennyweight.planner.rates import class_of
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import from_catalogue
from pennyweight.planner.sizes import sized_tensors
from pennyweight.planner.weigh import EXPERT_BIASES, weigh
from pennyweight.recipes.file_types import get_file_type

DATA = Path(__file__).parent / "data"

CATALOGUE = {"LLaMA-2-7B": "Llama-2-7B", "Llama-3-8B": "Llama-3.1-8B", "Llama-3-70B": "Llama-3.1-70B"}
"""Models of `speed.csv` by the catalogue's name of their shape."""

CARDS = {
    "H100 80GB": "H100 SXM5 80GB",
    "A100 80GB": "A100 SXM4 80GB",
    "RTX 5060 Ti": "RTX 5060 Ti 16GB",
    "RTX PRO 6000 Blackwell": "RTX PRO 6000",
    "RTX 3080": "RTX 3080 10GB",
    "2x RTX 3090": "RTX 3090",
    "H100 PCIe": "H100 PCIe 80GB",
    "Core Ultra 200 iGPU": "Arc 140V",
    "Arc A770": "Arc A770 16GB",
}
"""Devices of `speed.csv` whose words are not the table's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run with everything on the card."""

    device: str
    card: Card
    group: str
    model: str
    type: str
    footprint: Footprint
    decode: float
    prompt: float
    era: str

    @property
    def seconds(self) -> float:
        """Of one token."""
        return 1 / self.decode

    @property
    def depth(self) -> float:
        """Tokens that lie before the one that is timed, on average."""
        return 64.0 if self.era != "community" else 150.0


@cache
def footprint(model: str, file_type: str) -> Footprint:
    """Of a catalogue model."""
    anatomy, settings = from_catalogue(model), Settings(context=4096)
    tensors = sized_tensors(anatomy, get_file_type(file_type))
    return weigh(anatomy, tensors, kv_by_block(anatomy, settings), settings)


def speed_rows() -> Iterator[Row]:
    """`speed.csv` without the unnamed machine and the models whose shapes are not in the catalogue."""
    for line in _read("speed.csv"):
        model = CATALOGUE.get(line["model"])
        if model is None or not line["tg_tok_s"]:
            continue
        card = find_card(CARDS.get(line["device"], line["device"]))
        era = "2024" if "XiongjieDai" in line["source"] else "2025"
        yield _row(line["device"], card, model, line["quant"], float(line["tg_tok_s"]), float(line["pp_tok_s"]), era)


def community_rows(name: str = "community.csv") -> Iterator[Row]:
    """llmfit's community runs with everything on the card (those that spilled are in `hosts.csv`)."""
    for line in _read(name):
        if not line["setting"]:
            card = find_card(line["device"])
            yield _row(line["device"], card, line["model"], line["quant"], float(line["tg_tok_s"]), 0.0, "community")


def other_rows() -> Iterator[Row]:
    """Models that no constant was fitted to: Gemma, Phi, OLMo, hybrids, other experts."""
    yield from community_rows("other_models.csv")


def hybrid_rows() -> Iterator[Row]:
    """Qwen3.5's dense models on four devices, `hybrids.csv`."""
    for line in _read("hybrids.csv"):
        card = find_card(line["device"])
        yield _row(line["device"], card, line["model"], line["quant"], float(line["tg_tok_s"]), 0.0, "community")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One run of the model that was run behind contexts and with layers on the host."""

    row: Row
    depth: int
    cache: str
    gpu_layers: int


def measured_rows() -> Iterator[Row]:
    """Our own runs with everything on the card and nothing before."""
    yield from (one.row for one in swept_rows() if not one.depth and one.gpu_layers < 0)


def swept_rows() -> Iterator[Swept]:
    """All of our own runs, `measured.csv`."""
    for line in _read("measured.csv"):
        card = find_card(line["device"])
        speeds = float(line["tg_tok_s"]), float(line["pp_tok_s"] or 0)
        row = _row(line["device"], card, line["model"], line["quant"], *speeds, "2026")
        yield Swept(row=row, depth=int(line["depth"]), cache=line["cache"], gpu_layers=int(line["gpu_layers"]))


def gpt_oss_20b() -> Footprint:
    """As its MXFP4 file has it: 32 experts in 24 blocks at 17 bytes for 32 weights, 4 of them read; all else Q8_0."""
    attention = int((2 * 2880 * 4096 + 2 * 2880 * 512) * 34 / 32)
    experts = 32 * 3 * 2880 * 2880 * 17 // 32
    block = BlockBytes(
        weights=attention,
        experts=experts,
        experts_read=experts / 8,
        cache_read=2 * 2 * 512,
        small_kernels=EXPERT_BIASES,
    )
    output = 201_088 * 2880 * 34 // 32
    return Footprint(
        blocks=(block,) * 24,
        embedding=output,
        output=output,
        shares=shares_of([(Family.LEGACY, 24 * experts / 8), (Family.Q8_0, 24 * attention + output)]),
        expert_count=32,
        expert_used=4,
        parameters_used=3.6e9,
        parameters_routed=24 * 4 * 3 * 2880 * 2880,
        parameters_output=201_088 * 2880,
    )


def expert_rows() -> Iterator[Row]:
    """gpt-oss-20b on nine devices, llama.cpp discussion 15396."""
    for line in _read("speed.csv"):
        if line["model"] == "gpt-oss-20b":
            name = line["device"].removesuffix(" (ROCm)")
            card = find_card(CARDS.get(name, name))
            yield Row(
                device=line["device"],
                card=card,
                group=class_of(card).name,
                model="gpt-oss-20b",
                type="MXFP4",
                footprint=gpt_oss_20b(),
                decode=float(line["tg_tok_s"]),
                prompt=float(line["pp_tok_s"] or 0),
                era="15396",
            )


def _row(device: str, card: Card, model: str, quant: str, decode: float, prompt: float, era: str) -> Row:
    return Row(
        device=device,
        card=card,
        group=class_of(card).name,
        model=model,
        type=quant,
        footprint=footprint(model, quant),
        decode=decode,
        prompt=prompt,
        era=era,
    )


def _read(name: str) -> Iterator[dict[str, str]]:
    with open(DATA / name, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
