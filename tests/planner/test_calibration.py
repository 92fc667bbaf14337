"""Calibration: planted constants come back, noise does not run away, and the store gives what it was given."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.core.errors import BadRequest
from pennyweight.planner.calibration import CachePair, DecodeRun, PromptRun, fit_rates
from pennyweight.planner.calibration_store import (
    calibrated_card,
    calibrated_host,
    devices,
    load_calibration,
    save_calibration,
)
from pennyweight.planner.card_names import find_card
from pennyweight.planner.footprint import Family
from pennyweight.planner.host import Host, host_rates
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import card_rates
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware

PRIOR = card_rates(find_card("RTX 4070"))


def run(family: Family, nbytes: float, layers: int, efficiency: float, layer: float) -> DecodeRun:
    seconds = nbytes / (efficiency * PRIOR.bandwidth) + layers * layer
    return DecodeRun(family=family, nbytes=nbytes, layers=layers, seconds=seconds)


@settings(max_examples=60, deadline=None)
@given(
    k=st.floats(0.05, 1.0),
    q8=st.floats(0.05, 1.0),
    layer=st.floats(1e-6, 2e-3),
    cache=st.floats(0.05, 1.0),
    flops=st.floats(1e12, 1e14),
)
def test_planted_constants_come_back(k: float, q8: float, layer: float, cache: float, flops: float) -> None:
    runs = [run(Family.K, 8e8, 48, k, layer), run(Family.K, 9e8, 8, k, layer), run(Family.Q8_0, 1.5e9, 8, q8, layer)]
    shallow = run(Family.K, 1e8, 8, k, layer)
    deep = replace(shallow, cache_bytes=5e8, seconds=shallow.seconds + 5e8 / (cache * PRIOR.bandwidth))
    prompts = [
        PromptRun(family=Family.K, operations=ops, layers=n, seconds=ops / flops + n * 5 * layer)
        for ops, n in ((9e11, 48), (1e12, 8))
    ]
    made = fit_rates(runs, PRIOR, pairs=[CachePair(shallow=shallow, deep=deep)], prompts=prompts)
    assert dict(made.efficiency)[Family.K] == pytest.approx(k, rel=1e-6)
    assert made.seconds_per_layer == pytest.approx(layer, rel=1e-4)
    if q8 * PRIOR.bandwidth * layer * 8 < 4 * 1.5e9:  # else the layers hide the bytes, and no fit would find them
        assert dict(made.efficiency)[Family.Q8_0] == pytest.approx(q8, rel=1e-3)
    assert dict(made.cache_efficiency)[Family.F16] == pytest.approx(cache, rel=1e-6)
    assert made.prompt_flops == pytest.approx(flops, rel=1e-3)
    assert made.prompt_seconds_per_layer == pytest.approx(5 * layer, rel=1e-3)
    assert made.basis is Basis.CALIBRATED


@settings(max_examples=60, deadline=None)
@given(k=st.floats(0.05, 1.0), q8=st.floats(0.05, 1.0), layer=st.floats(1e-6, 1e-4), token=st.floats(1e-5, 1e-3))
def test_what_a_token_costs_beside_its_layers_comes_back(k: float, q8: float, layer: float, token: float) -> None:
    sizes = ((Family.K, 1.4e9, 48, k), (Family.K, 1.5e9, 8, k), (Family.Q8_0, 2.5e9, 8, q8), (Family.K, 2e8, 8, k))
    runs = [run(family, nbytes, layers, share, layer) for family, nbytes, layers, share in sizes]
    *runs, small = [replace(one, seconds=one.seconds + token) for one in runs]
    made = fit_rates(runs, PRIOR, pairs=[CachePair(shallow=small, deep=small)])
    assert made.seconds_per_token == pytest.approx(token, rel=1e-3)
    assert made.seconds_per_layer == pytest.approx(layer, rel=1e-2, abs=1e-8)
    assert dict(made.efficiency)[Family.K] == pytest.approx(k, rel=1e-4)
    assert dict(made.efficiency)[Family.Q8_0] == pytest.approx(q8, rel=1e-3)


@pytest.mark.parametrize(("nbytes", "factor"), [(9e7, 1.0), (2e8, 0.5)])
def test_a_small_model_that_a_cache_may_hold_or_that_noise_made_quick_says_nothing_of_a_token(
    nbytes: float, factor: float
) -> None:
    runs = [run(Family.K, 1.4e9, 48, 0.5, 5e-5), run(Family.K, 1.5e9, 8, 0.5, 5e-5)]
    small = run(Family.K, nbytes, 8, 0.5, 5e-5)
    small = replace(small, seconds=small.seconds * factor)
    made = fit_rates(runs, PRIOR, pairs=[CachePair(shallow=small, deep=small)])
    assert made == fit_rates(runs, PRIOR)
    assert made.seconds_per_token == 0


def test_a_family_that_was_not_run_keeps_the_ratio_of_its_class() -> None:
    made = fit_rates([run(Family.K, 8e8, 48, 0.4, 5e-5), run(Family.K, 9e8, 8, 0.4, 5e-5)], PRIOR)
    before = dict(PRIOR.efficiency)
    assert dict(made.efficiency)[Family.IQ] / 0.4 == pytest.approx(before[Family.IQ] / before[Family.K])


@settings(max_examples=60, deadline=None)
@given(noise=st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3))
def test_noise_gives_constants_that_a_machine_can_have(noise: list[float]) -> None:
    runs = [run(Family.K, 8e8, 48, 0.5, 5e-5), run(Family.K, 8e8, 8, 0.5, 5e-5), run(Family.F16, 4e9, 8, 0.5, 5e-5)]
    shaken = [replace(one, seconds=one.seconds * factor) for one, factor in zip(runs, noise, strict=True)]
    made = fit_rates(shaken, PRIOR)
    assert 0 <= made.seconds_per_layer < 0.05
    assert all(0.005 <= value <= 1.5 for _, value in made.efficiency)


def test_a_cache_that_costs_nothing_is_noise() -> None:
    shallow = run(Family.K, 1e8, 8, 0.5, 5e-5)
    deep = replace(shallow, cache_bytes=5e8, seconds=shallow.seconds * 0.9)
    made = fit_rates([shallow], PRIOR, pairs=[CachePair(shallow=shallow, deep=deep)])
    assert made.cache_efficiency == PRIOR.cache_efficiency


@pytest.mark.parametrize("bad", [{"nbytes": 0}, {"seconds": 0}, {"seconds": float("nan")}, {"layers": 0}])
def test_what_cannot_be_a_run_is_refused(bad: dict) -> None:
    with pytest.raises(BadRequest):
        fit_rates([replace(run(Family.K, 8e8, 48, 0.5, 5e-5), **bad)], PRIOR)
    with pytest.raises(BadRequest):
        fit_rates([], PRIOR)


def test_the_store_gives_back_the_newest_of_a_device(tmp_path: Path) -> None:
    fitted = fit_rates([run(Family.K, 8e8, 48, 0.4, 5e-5), run(Family.K, 9e8, 8, 0.4, 5e-5)], PRIOR)
    with open_store(tmp_path / "store.sqlite") as store:
        assert load_calibration(store, "RTX 4070", PRIOR) is None
        fitted = replace(fitted, seconds_per_token=1e-4)
        save_calibration(store, "RTX 4070", "llama-bench b1", PRIOR)
        save_calibration(store, "RTX 4070", "llama-bench b2", fitted)
        save_calibration(store, hardware(), "llama.cpp b2", host_rates(Host()))
        found = load_calibration(store, "RTX 4070", PRIOR)
        assert found is not None
        assert found.engine == "llama-bench b2"
        assert found.rates.efficiency == fitted.efficiency
        assert found.rates.seconds_per_layer == fitted.seconds_per_layer
        assert found.rates.seconds_per_token == 1e-4
        assert found.rates.basis is Basis.CALIBRATED
        older = load_calibration(store, "RTX 4070", PRIOR, engine="llama-bench b1")
        assert older is not None
        assert older.rates.efficiency == PRIOR.efficiency
        card = calibrated_card(store, find_card("RTX 4070"))
        assert card is not None
        assert calibrated_card(store, find_card("RTX 4090")) is None
        assert calibrated_host(store, Host()) is not None
        assert devices(store) == (hardware(), "RTX 4070")


def test_a_calibration_from_before_tokens_had_a_cost_has_none(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite") as store:
        save_calibration(store, "RTX 4070", "e", replace(PRIOR, seconds_per_token=1e-4))
        store._connection.execute("DELETE FROM measurements WHERE metric = 'seconds_per_token'")
        found = load_calibration(store, "RTX 4070", PRIOR)
        assert found is not None
        assert (found.rates.seconds_per_token, found.rates.seconds_per_layer) == (0, PRIOR.seconds_per_layer)


def test_an_edited_calibration_counts_as_none(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.sqlite") as store:
        save_calibration(store, "RTX 4070", "e", PRIOR)
        store._connection.execute("UPDATE measurements SET value = 0 WHERE metric = 'calibration_bandwidth'")
        assert load_calibration(store, "RTX 4070", PRIOR) is None
