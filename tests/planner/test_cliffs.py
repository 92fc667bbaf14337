"""The four cliffs told apart, each where it was seen."""

from dataclasses import replace

from pennyweight.core.units import GIB, MIB
from pennyweight.planner.card_names import find_cards
from pennyweight.planner.cliffs import CliffKind, cliffs
from pennyweight.planner.host import Host
from pennyweight.planner.machine import machine_of
from pennyweight.planner.memory import Budget, fit_memory
from pennyweight.planner.request import Settings
from tests.planner.footprints import LLAMA_3_8B, plain

FOUR_K = Settings(context=4096)
LINUX = Host(memory_bytes=64 * GIB, available_bytes=60 * GIB)


def kinds(
    block: int, budget: Budget, depth: float = 0, settings: Settings = FOUR_K, **changes: float
) -> list[CliffKind]:
    footprint = plain(block=block * MIB, **changes)  # type: ignore[arg-type]
    plan = fit_memory(footprint, LLAMA_3_8B, settings, budget)
    return [cliff.kind for cliff in cliffs(plan, machine_of(budget), budget, depth)]


def test_a_model_on_the_card_stands_on_no_cliff() -> None:
    assert kinds(100, Budget(cards=find_cards("RTX 4090"), host=LINUX), 4096) == []


def test_a_spilled_model_names_its_layers() -> None:
    assert kinds(900, Budget(cards=find_cards("RTX 4090"), host=LINUX)) == [CliffKind.CPU_LAYERS]


def test_a_long_context_names_the_cache_of_the_layers_on_the_processor() -> None:
    # RTX 4070, Qwen3.6-27B: 4.25 tokens/s at 4K and 0.88 at 131K, a slope 32 times the resident model's
    budget = Budget(cards=find_cards("RTX 4090"), host=LINUX)
    found = kinds(900, budget, 131_072, cache_read=8192.0)
    assert set(found) == {CliffKind.CPU_LAYERS, CliffKind.CPU_CACHE}
    assert CliffKind.CPU_CACHE not in kinds(900, budget, 512, cache_read=8192.0)


def test_windows_pages_a_card_that_is_nearly_full_and_linux_does_not() -> None:
    windows = replace(LINUX, windows=True)
    full = replace(FOUR_K, gpu_layers=33)
    assert kinds(720, Budget(cards=find_cards("RTX 4090"), host=windows), settings=full) == [CliffKind.DRIVER_PAGING]
    assert kinds(720, Budget(cards=find_cards("RTX 4090"), host=LINUX), settings=full) == []
    assert kinds(600, Budget(cards=find_cards("RTX 4090"), host=windows), settings=full) == []


def test_a_host_too_small_reads_from_the_disk() -> None:
    small = Host(memory_bytes=16 * GIB, available_bytes=12 * GIB)
    found = kinds(1500, Budget(cards=find_cards("RTX 4090"), host=small))
    assert set(found) == {CliffKind.DISK, CliffKind.CPU_LAYERS}


def test_a_unified_memory_has_no_cliff_before_its_working_set() -> None:
    mac = Budget(cards=find_cards("M3 Max 48GB"), host=Host(memory_bytes=48 * GIB, available_bytes=46 * GIB))
    whole = replace(FOUR_K, gpu_layers=33)
    for block in (100, 500, 900, 1000):
        assert kinds(block, mac, settings=whole) == []
    assert CliffKind.WORKING_SET in kinds(1300, mac, settings=whole)


def test_the_worst_cliff_comes_first_and_says_what_to_do() -> None:
    budget = Budget(cards=find_cards("RTX 4090"), host=LINUX)
    plan = fit_memory(plain(block=900 * MIB), LLAMA_3_8B, FOUR_K, budget)
    (cliff,) = cliffs(plan, machine_of(budget), budget)
    assert cliff.factor > 1.2
    assert "blocks run on the processor" in cliff.words
