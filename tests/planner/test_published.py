"""The planner against everything published that is at hand; the benchmark prints the errors that are bounded here."""

import csv
from statistics import median

import numpy as np
import pytest

from benchmarks.planner import constant, decode_groups, llmfit, other_models
from benchmarks.planner_curves import depth_errors, offload_errors, slope_errors, spilled_errors
from benchmarks.planner_fit import predict
from benchmarks.planner_memory import breakdown_errors, buffer_errors, cache_errors
from benchmarks.planner_rows import DATA, Row, community_rows, speed_rows
from pennyweight.planner.card_names import find_card
from pennyweight.planner.footprint import Family, family_of
from pennyweight.planner.rates import card_rates


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*speed_rows(), *community_rows()]


def test_the_cache_of_every_published_log_is_exact() -> None:
    assert cache_errors() == {"rows": 22, "largest": 0.0}


def test_compute_buffers_are_within_six_percent_of_single_device_logs() -> None:
    found = buffer_errors()
    for kind in ("compute, flash attention", "compute, without"):
        assert (found[kind]["largest"] or 0) < 0.06, kind
    assert (found["compute, cards"]["largest"] or 0) < 0.12


def test_totals_are_within_three_percent_of_published_breakdowns() -> None:
    assert (breakdown_errors()["largest"] or 0) < 0.03


def test_the_card_table_beats_the_fields_formulas_in_every_class_of_card(rows: list[Row]) -> None:
    for group in {row.group for row in rows}:
        own = [row for row in rows if row.group == group]
        shipped = median(abs(predict(row, card_rates(row.card)) / row.decode - 1) for row in own)
        assert shipped < 0.15, group
        assert shipped < median(abs(constant(row) / row.decode - 1) for row in own), group
        assert shipped < median(abs(llmfit(row) / row.decode - 1) for row in own), group


@pytest.mark.slow
def test_two_runs_calibrate_a_device_and_a_class_predicts_a_card_it_never_saw() -> None:
    found = decode_groups(show=False)["all"]
    assert (found["calibrated"] or 1) < 0.06
    assert (found["left out"] or 1) < 0.10


def test_models_that_nothing_was_fitted_to_are_predicted_as_well() -> None:
    found = other_models()["all"]
    assert (found["shipped"] or 1) < 0.10
    assert (found["shipped"] or 1) < 0.5 * (found["constant 0.55"] or 0)


def test_partial_offload_follows_from_the_ends_within_ten_percent_at_each_point() -> None:
    for name, group in offload_errors().items():
        assert (group["largest"] or 1) < 0.10, name


def test_time_is_linear_in_depth() -> None:
    for name, group in depth_errors().items():
        assert (group["largest"] or 1) < 0.05, name


def test_a_cache_costs_what_the_card_table_says() -> None:
    assert (slope_errors()["depth, slope as shipped"]["median"] or 1) < 0.10


def test_spilled_runs_follow_from_the_hosts_bandwidth_alone() -> None:
    assert (spilled_errors()["spilled runs, as shipped"]["median"] or 1) < 0.10


def test_types_of_one_model_rank_as_they_ran() -> None:
    """llama.cpp's README: Llama-3.1-8B in 22 types on one unnamed machine, whose bandwidth the F16 run gives."""
    with open(DATA / "speed.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["device"] == "unnamed"]
    card = find_card("RTX 3090")
    rates = card_rates(card)
    read = {row["quant"]: float(row["file_GiB"]) * 2**30 for row in rows}
    predicted = {t: 1 / rates.read_seconds(nbytes, ((family_of(t), 1.0),)) for t, nbytes in read.items()}
    measured = {row["quant"]: float(row["tg_tok_s"]) for row in rows}
    large = [t for t in measured if family_of(t) not in (Family.IQ,) and not t.startswith(("Q2", "Q3"))]
    assert _rank_correlation([predicted[t] for t in large], [measured[t] for t in large]) > 0.95
    for family in (Family.K, Family.IQ4):  # not twice as fast for half the bits
        assert dict(rates.efficiency)[family] < dict(rates.efficiency)[Family.F16]


def _rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's."""
    a, b = (np.argsort(np.argsort(values)) for values in (first, second))
    return float(np.corrcoef(a, b)[0, 1])
