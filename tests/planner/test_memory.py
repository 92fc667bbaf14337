"""What fits: against published logs, and by the laws that hold for every model (more context is never less memory)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import GIB, MIB
from pennyweight.planner.card_names import find_card, find_cards
from pennyweight.planner.footprint import place
from pennyweight.planner.host import Host
from pennyweight.planner.memory import Budget, fit_memory, plan_memory
from pennyweight.planner.quantity import Basis
from pennyweight.planner.request import Settings
from tests.planner.footprints import LLAMA_3_8B, QWEN3_30B_A3B, plain

RTX_3060 = Budget(cards=find_cards("RTX 3060 12GB"), host=Host())
FOUR_K = Settings(context=4096)


def test_a_model_that_fits_lies_on_the_card_altogether() -> None:
    plan = fit_memory(plain(), LLAMA_3_8B, FOUR_K, RTX_3060)
    assert plan.fits
    assert plan.placement.whole
    assert plan.card_total.value == (
        plan.card_weights.value + plan.card_cache.value + plan.compute.value + plan.overhead.value
    )
    assert plan.card_weights.basis is plan.card_cache.basis is Basis.EXACT
    assert plan.overhead.basis is Basis.HEURISTIC


def test_a_model_too_large_leaves_its_first_blocks_to_the_host() -> None:
    plan = fit_memory(plain(block=500 * MIB), LLAMA_3_8B, FOUR_K, RTX_3060)
    assert plan.fits
    assert 0 < plan.placement.gpu_layers < 33
    assert plan.spare >= 0
    one_more = place(plain(block=500 * MIB), plan.placement.gpu_layers + 1)
    assert not plan_memory(one_more, LLAMA_3_8B, FOUR_K, RTX_3060).fits, "no layer more would have fitted"


def test_experts_go_to_the_host_before_anything_else_does() -> None:
    plan = fit_memory(plain(block=50 * MIB, experts=400 * MIB), QWEN3_30B_A3B, FOUR_K, RTX_3060)
    assert plan.fits
    assert plan.placement.gpu_layers == 33
    assert 0 < len(plan.placement.expert_blocks_on_host) < 32


def test_what_is_asked_for_is_planned_even_where_it_does_not_fit() -> None:
    plan = fit_memory(plain(block=500 * MIB), LLAMA_3_8B, replace(FOUR_K, gpu_layers=33), RTX_3060)
    assert plan.placement.whole
    assert not plan.fits
    assert plan.spare < 0


def test_two_cards_hold_what_one_does_not_but_no_block_is_cut() -> None:
    two = Budget(cards=find_cards("2x RTX 3060 12GB"), host=Host())
    large = plain(block=560 * MIB)
    assert not fit_memory(large, LLAMA_3_8B, FOUR_K, RTX_3060).placement.whole
    assert fit_memory(large, LLAMA_3_8B, FOUR_K, two).placement.whole
    huge = plain(blocks=2, block=int(10.5 * GIB), output=3 * GIB)  # 24 GiB in all, and the output has no card to go to
    assert not fit_memory(huge, LLAMA_3_8B, FOUR_K, two).placement.whole


def test_without_a_card_everything_is_the_hosts() -> None:
    plan = fit_memory(plain(), LLAMA_3_8B, FOUR_K, Budget(cards=(), host=Host(memory_bytes=32 * GIB)))
    assert plan.fits
    assert plan.card_total.value == 0
    assert plan.host_total.value > plain().weights + plain().cache
    assert plan.host_compute.value > 0


def test_a_host_too_small_says_how_much_it_lacks() -> None:
    plan = fit_memory(plain(), LLAMA_3_8B, FOUR_K, Budget(cards=(), host=Host(memory_bytes=3 * GIB)))
    assert not plan.fits
    assert plan.host_short == pytest.approx(plan.host_total.value - 1 * GIB, abs=1)


def test_a_unified_memory_counts_once_and_ends_at_the_working_set() -> None:
    mac = find_card("M2 16GB")
    budget = Budget(cards=(mac,), host=Host(memory_bytes=16 * GIB, available_bytes=14 * GIB))
    plan = fit_memory(plain(block=300 * MIB), LLAMA_3_8B, FOUR_K, budget)
    assert plan.card_budget == int(16 * GIB * 2 / 3)
    assert plan.fits
    assert not fit_memory(plain(block=400 * MIB), LLAMA_3_8B, replace(FOUR_K, gpu_layers=33), budget).fits


def test_what_others_use_of_a_card_is_not_ours() -> None:
    desktop = replace(RTX_3060, used_bytes=3 * GIB)
    medium = plain(block=320 * MIB)
    assert fit_memory(medium, LLAMA_3_8B, FOUR_K, RTX_3060).placement.whole
    assert not fit_memory(medium, LLAMA_3_8B, FOUR_K, desktop).placement.whole


def test_negative_layers_are_refused() -> None:
    with pytest.raises(BadRequest):
        fit_memory(plain(), LLAMA_3_8B, replace(FOUR_K, gpu_layers=-1), RTX_3060)


@settings(max_examples=60, deadline=None)
@given(
    block=st.integers(1, 900),
    context=st.integers(1, 200_000),
    more=st.integers(0, 200_000),
    batch=st.sampled_from([32, 512, 2048]),
    flash=st.booleans(),
    card=st.sampled_from(["RTX 4090", "2x RTX 3060 12GB", "M3 Max 48GB", "RX 7600"]),
)
def test_more_context_is_never_less_memory_and_never_more_layers(
    block: int, context: int, more: int, batch: int, flash: bool, card: str
) -> None:
    budget = Budget(cards=find_cards(card), host=Host())
    asked = Settings(context=context, micro_batch=batch, flash_attention=flash)
    longer = replace(asked, context=context + more)
    short = plain(block=block * MIB, cache=1024 * context)
    long = plain(block=block * MIB, cache=1024 * (context + more))
    small, large = fit_memory(short, LLAMA_3_8B, asked, budget), fit_memory(long, LLAMA_3_8B, longer, budget)
    assert large.placement.gpu_layers <= small.placement.gpu_layers
    whole = plan_memory(place(short), LLAMA_3_8B, asked, budget)
    assert plan_memory(place(long), LLAMA_3_8B, longer, budget).card_total.value >= whole.card_total.value
    for plan in (small, large):
        assert plan.card_total.low <= plan.card_total.value <= plan.card_total.high
