"""Whether a context fits, on cards that are named: what is told to llama.cpp is what was counted."""

import re
from dataclasses import replace

import pytest

from pennyweight.core.errors import DoesNotFit
from pennyweight.jobs.fit import Fit
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.planner.card_names import find_cards
from pennyweight.planner.host import Host
from pennyweight.planner.memory import Budget
from pennyweight.planner.resolve import from_catalogue
from pennyweight.planner.sizes import sized_tensors
from pennyweight.recipes.file_types import get_file_type

CONTEXT = 8192


def fit_of(model: str, gpu: str | None, layers: int = -1) -> Fit:
    anatomy = from_catalogue(model)
    cards = find_cards(gpu) if gpu else ()
    return Fit(
        model=model,
        trained=40_960,
        options=SpeakingOptions(gpu_layers=layers),
        budget=Budget(cards=cards, host=Host(memory_bytes=64 << 30)),
        anatomy=anatomy,
        tensors=sized_tensors(anatomy, get_file_type("Q4_K_M")),
    )


@pytest.mark.parametrize("model", ["Qwen3-30B-A3B", "Qwen3-32B"])
def test_layers_for_the_card_are_whole_and_fit_it_and_one_more_does_not(model: str) -> None:
    fit = fit_of(model, "RTX 3060 12GB")
    layers, plan = fit.gpu_layers(CONTEXT), fit.memory(CONTEXT)
    assert plan is not None
    assert 0 < layers < plan.placement.footprint.layers
    assert not plan.placement.expert_blocks_on_host  # nobody tells llama.cpp of them
    assert plan.card_total.value <= plan.card_budget
    more = fit_of(model, "RTX 3060 12GB", layers + 1).memory(CONTEXT)
    assert more is not None
    assert more.card_total.value > more.card_budget


@pytest.mark.parametrize(("slots", "gib"), [(1, 9.5), (1, 7), (4, 14), (4, 10)])
def test_every_change_that_is_proposed_fits_and_is_written_as_it_is_typed(slots: int, gib: float) -> None:
    host = Host(memory_bytes=int(gib * 2**30))
    fit = replace(fit_of("Qwen3-8B", None), slots=slots, budget=Budget(cards=(), host=host))
    with pytest.raises(DoesNotFit) as caught:
        fit.require(40_960)
    found = re.search(
        r"\(1\) -c (\d+), \(2\) -ctk (\w+) -ctv \2(?: with -c (\d+)|, which rounds the cache), "
        r"\(3\) (?:no -c: -c (\d+)|-np (\d) with -c (\d+))$",
        str(caught.value),
    )
    assert found, caught.value
    largest, kind, smaller, usual, fewer, of_fewer = found.groups()
    assert int(largest) % slots == 0
    assert fit.has_room(int(largest) // slots)
    assert not fit.has_room(int(largest) // slots + 256)
    rounded = replace(fit.options, type_k=kind, type_v=kind)
    assert fit.has_room(int(smaller or 40_960 * slots) // slots, rounded)
    if fewer:
        assert int(of_fewer) == int(fewer) * 40_960
        assert replace(fit, slots=int(fewer)).has_room(40_960)
        assert not replace(fit, slots=int(fewer) + 1).has_room(40_960)
    else:
        assert fit.has_room(int(usual) // slots)


def test_layers_that_were_asked_for_stay_and_a_machine_without_a_card_is_left_to_llama_cpp() -> None:
    assert fit_of("Qwen3-8B", "RTX 3060 12GB", 5).gpu_layers(CONTEXT) == 5
    assert fit_of("Qwen3-8B", None).gpu_layers(CONTEXT) == -1
