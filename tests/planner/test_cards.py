"""Cards by name against figures that vendors publish, and the traps that other tools' tables fell into."""

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import GIB
from pennyweight.planner.card_names import find_card, find_cards
from pennyweight.planner.cards import ARCHITECTURES, Capability, all_cards, custom

# name as written, GiB, GB/s, lanes: NVIDIA's, AMD's, Intel's and Apple's product pages
PUBLISHED = [
    ("RTX 4090", 24, 1008, 16),
    ("4090", 24, 1008, 16),
    ("rtx3060 12gb", 12, 360, 16),
    ("RTX 3060 8GB", 8, 240, 16),
    ("RTX 4060 Ti 16GB", 16, 288, 8),
    ("NVIDIA GeForce RTX 4060 Ti", 8, 288, 8),
    ("RTX 5060", 8, 448, 8),  # others say 256
    ("RTX 5090", 32, 1792, 16),
    ("RTX A4000", 16, 448, 16),  # others say 768
    ("RTX 4060", 8, 272, 8),  # others say 16 GB
    ("NVIDIA GeForce RTX 4070 Laptop GPU", 8, 256, 8),
    ("RTX 4070 Ti SUPER", 16, 672.3, 16),
    ("7900xtx", 24, 960, 16),
    ("AMD Radeon RX 9070 XT", 16, 644.6, 16),  # others say 624
    ("Intel(R) Arc(TM) A770 16GB", 16, 560, 16),
    ("Arc B580", 12, 456, 8),
    ("NVIDIA A100-SXM4-80GB", 80, 2039, 16),
    ("NVIDIA H100 80GB HBM3", 80, 3352, 16),
    ("NVIDIA H100 PCIe", 80, 2039, 16),
    ("NVIDIA H100 NVL", 94, 3940, 16),
    ("H200", 141, 4800, 16),
    ("MI300X", 192, 5300, 16),
    ("Tesla P40", 24, 347.1, 16),
    ("Tesla T4", 16, 320, 16),
    ("M3 Ultra 80c 512GB", 512, 819, 0),  # others say 800
    ("Apple M4 Max 40-core 64 GB", 64, 546, 0),
    ("DGX Spark 128GB", 128, 273, 16),
]


@pytest.mark.parametrize(("text", "gib", "bandwidth", "lanes"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_a_card_has_its_published_memory_bandwidth_and_link(text: str, gib: int, bandwidth: float, lanes: int) -> None:
    card = find_card(text)
    assert card.memory_bytes == gib * GIB
    assert card.bandwidth == pytest.approx(bandwidth * 1e9, rel=0.01)
    assert card.pcie_lanes == lanes or card.unified


def test_every_card_is_found_by_its_own_name_and_is_a_card() -> None:
    for card in all_cards():
        found = find_card(card.name)
        assert (found.bandwidth, found.fp32_flops) == (card.bandwidth, card.fp32_flops), card.name
        assert card.architecture in ARCHITECTURES, card.name
        assert 40e9 <= card.bandwidth <= 8e12, card.name
        assert 4 * GIB <= card.memory_bytes <= 288 * GIB or card.unified, card.name
        assert 0.5e12 <= card.fp32_flops <= 200e12, card.name
        assert card.source, card.name


def test_a_name_that_two_cards_have_says_which_was_taken() -> None:
    assert find_card("RTX 3060").name == "RTX 3060 12GB"
    assert "RTX 3060 8GB" in find_card("RTX 3060").note
    assert find_card("RTX 4060 Ti").name == "RTX 4060 Ti 8GB"
    assert find_card("M4 Max 64GB").bandwidth == 410e9, "of a Mac's chips the smaller is promised"
    assert find_card("RTX 3080").memory_bytes == 10 * GIB
    assert not find_card("RTX 3080 12GB").note


def test_several_cards_are_counted_or_listed() -> None:
    assert [card.name for card in find_cards("2x RTX 3090, 4090")] == ["RTX 3090", "RTX 3090", "RTX 4090"]
    assert len(find_cards("2x4090")) == 2
    for text, count in (("99x RTX 3090", 99), ("100x4090", 100)):
        with pytest.raises(BadRequest, match=f"{count} cards"):
            find_cards(text)


@pytest.mark.parametrize(("wrong", "near"), [("RTX 4091", "RTX 4090"), ("RTX 3600", "RTX 3060"), ("RX 7900 XXT", "RX")])
def test_an_unknown_card_offers_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(UnknownName, match=near):
        find_card(wrong)


@pytest.mark.parametrize("nothing", ["", "  ", "GeForce", "12GB", "x", "\x00", "ä" * 5000])
def test_nonsense_is_no_card(nothing: str) -> None:
    with pytest.raises(UnknownName):
        find_card(nothing)


def test_a_memory_that_no_variant_has_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"has 12 GB or 8 GB, not 10 GB"):
        find_card("RTX 3060 10GB")


def test_fp8_is_where_nvidia_and_amd_say_it_is() -> None:
    for name in ("RTX 4060", "RTX 5090", "H100", "L4", "MI300X", "RX 9070"):
        assert find_card(name).computes(Capability.FP8), name
    for name in ("RTX 3090", "A100", "RTX 2080", "Tesla P40", "RX 7900 XTX", "M4 Max", "Arc B580"):
        assert not find_card(name).computes(Capability.FP8), name


# Metal's recommendedMaxWorkingSetSize in logs of llama.cpp, MB (discussion 4167 and XiongjieDai's notebooks)
@pytest.mark.parametrize(("gib", "megabytes"), [(48, 38654.71), (64, 51539.61), (192, 154618.82)])
def test_a_macs_working_set_is_what_metal_logs(gib: int, megabytes: float) -> None:
    assert find_card(f"M3 Max {gib}GB").usable_bytes == pytest.approx(megabytes * 1e6, rel=1e-6)


def test_a_card_given_by_hand_is_checked() -> None:
    card = custom(12 * GIB, 360e9)
    assert (card.memory_bytes, card.bandwidth, card.capabilities) == (12 * GIB, 360e9, frozenset())
    for memory, bandwidth in ((0, 360e9), (-1, 360e9), (1 << 60, 360e9), (GIB, 0), (GIB, -5), (GIB, float("nan"))):
        with pytest.raises(BadRequest):
            custom(memory, bandwidth)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NVIDIA H200", "H200 SXM 141GB"),
        ("NVIDIA H200 141GB HBM3e", "H200 SXM 141GB"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("H100", "H100 SXM5 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe 80GB"),
        ("NVIDIA H100 NVL", "H100 NVL 94GB"),
        ("NVIDIA A100-SXM4-40GB", "A100 SXM4 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40GB"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2 32GB"),
        ("Tesla V100-PCIE-16GB", "V100 PCIe 16GB"),
        ("Tesla P100-PCIE-16GB", "P100 PCIe 16GB"),
    ],
)
def test_the_drivers_name_of_a_datacentre_card_is_of_its_form(text: str, name: str) -> None:
    assert find_card(text).name == name


# What people write in issues, on forums and in shops → the card that they mean.
SPELLINGS = {
    "H100 SXM": "H100 SXM5 80GB",
    "h100-sxm5-80gb": "H100 SXM5 80GB",
    "H100 SXM 94GB": "H100 SXM5 94GB",
    "H100-PCIe": "H100 PCIe 80GB",
    "H200 SXM": "H200 SXM 141GB",
    "A100 SXM": "A100 SXM4 40GB",
    "A100-80G": "A100 SXM4 80GB",
    "A100 80": "A100 SXM4 80GB",
    "a100 sxm 80gb": "A100 SXM4 80GB",
    "V100-32GB": "V100 PCIe 32GB",
    "Tesla V100 SXM": "V100 SXM2 32GB",
    "RTX4090": "RTX 4090",
    "rtx-4090": "RTX 4090",
    "nvidia rtx 3090 24 GB": "RTX 3090",
    "GeForce RTX3080Ti": "RTX 3080 Ti",
    "3090ti": "RTX 3090 Ti",
    "4060ti": "RTX 4060 Ti 8GB",
    "4060ti 16g": "RTX 4060 Ti 16GB",
    "RTX 4060TI-16GB": "RTX 4060 Ti 16GB",
    "5070ti": "RTX 5070 Ti",
    "1080ti": "GTX 1080 Ti",
    "GTX1660super": "GTX 1660 SUPER",
    "4070 super": "RTX 4070 SUPER",
    "4070s": "RTX 4070 SUPER",
    "4070tis": "RTX 4070 Ti SUPER",
    "RTX 4070 TiSuper": "RTX 4070 Ti SUPER",
    "4080S": "RTX 4080 SUPER",
    "RTX 4090 mobile": "RTX 4090 Laptop",
    "3080m": "RTX 3080 Laptop",
    "RTX 2080 Max-Q": "RTX 2080 Laptop",
    "A6000": "RTX A6000",
    "RTXA6000": "RTX A6000",
    "6000 Ada": "RTX 6000 Ada",
    "RTX6000Ada": "RTX 6000 Ada",
    "RTX 6000 Ada Generation": "RTX 6000 Ada",
    "RTX Pro 6000": "RTX PRO 6000 Blackwell",
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": "RTX PRO 6000 Blackwell",
    "Quadro RTX 8000": "Quadro RTX 8000",
    "L40s": "L40S",
    "A10G": "A10G",
    "titan rtx": "TITAN RTX",
    "RX7900XTX": "RX 7900 XTX",
    "7900 XTX": "RX 7900 XTX",
    "rx-7900-xt": "RX 7900 XT",
    "9070xt": "RX 9070 XT",
    "6700S": "RX 6700S",
    "RX 5700M": "RX 5700M",
    "radeon vii": "Radeon VII",
    "MI 300X": "MI300X",
    "Instinct MI210": "MI210",
    "B580": "Arc B580",
    "Intel Arc A770 16G": "Arc A770 16GB",
    "m1max 64GB": "M1 Max 24c",
    "MacBook Pro M3 Max 128GB": "M3 Max 30c",
    "Mac Studio M2 Ultra 192GB": "M2 Ultra 60c",
    "mac mini m4 pro 64gb": "M4 Pro 16c",
    "M4 Max 40-core 128GB": "M4 Max 40c",
    "AMD Ryzen AI MAX+ 395 128GB": "Radeon 8060S",
    "Strix Halo 128GB": "Radeon 8060S",
    "DGX Spark": "GB10",
}


@pytest.mark.parametrize(("text", "name"), SPELLINGS.items(), ids=list(SPELLINGS))
def test_the_spellings_that_people_use_are_understood(text: str, name: str) -> None:
    assert find_card(text).name == name


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2x RTX 3090", 2),
        ("2×3090", 2),
        ("4 x 3090", 4),
        ("dual 3090", 2),
        ("two RTX 3090", 2),
        ("2 RTX 3090", 2),
        ("RTX 3090 x2", 2),
        ("3090 ×4", 4),
        ("2x 3090s", 2),
        ("RTX 3090", 1),
        ("3090", 1),
    ],
)
def test_several_of_one_card_are_counted_however_they_are_written(text: str, count: int) -> None:
    assert [card.name for card in find_cards(text)] == ["RTX 3090"] * count


@pytest.mark.parametrize("text", ["GH200", "Jetson Orin", "RTX 7090", "M9 Max", "RX 7800 XTX"])
def test_a_card_that_is_not_in_the_table_is_never_taken_for_another(text: str) -> None:
    with pytest.raises(UnknownName, match=r"no card named|did you mean"):
        find_card(text)
