"""The planner against everything published that is at hand; the benchmark prints the errors that are bounded here."""

import csv
from statistics import median

import numpy as np
import pytest

from benchmarks.planner import constant, decode_groups, llmfit, other_models, prompt_groups
from benchmarks.planner_again import again_errors
from benchmarks.planner_curves import cache_slope_errors, depth_errors, offload_errors, slope_errors
from benchmarks.planner_fit import predict
from benchmarks.planner_hosts import host_errors, host_rows, share_of
from benchmarks.planner_memory import breakdown_errors, buffer_errors, cache_errors
from benchmarks.planner_rows import DATA, Row, community_rows, measured_rows, speed_rows
from pennyweight.planner.calibration import DecodeRun, fit_rates
from pennyweight.planner.card_names import find_card
from pennyweight.planner.footprint import Family, family_of
from pennyweight.planner.host import READ_SHARE
from pennyweight.planner.rates import card_rates


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [*speed_rows(), *community_rows(), *measured_rows()]


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


def test_models_that_no_class_of_card_was_fitted_to_are_predicted_as_well() -> None:
    found = other_models(show=False)["all"]
    assert (found["shipped"] or 1) < 0.05
    assert (found["left out"] or 1) < 0.05
    assert (found["shipped"] or 1) < 0.5 * (found["constant 0.55"] or 0)


@pytest.mark.parametrize(
    ("kind", "most"),
    [("Gemma 2 and 3", 0.05), ("gpt-oss-20b, nine devices", 0.10), ("DeepSeek-V2-Lite", 0.08), ("hybrids", 0.05)],
)
def test_what_a_kind_of_block_costs_more_predicts_devices_that_it_was_not_fitted_to(kind: str, most: float) -> None:
    found = other_models(show=False)[kind]
    assert (found["left out"] or 1) < most
    assert (found["left out"] or 1) < 0.5 * (found["constant 0.55"] or 0)


def test_partial_offload_follows_from_the_ends_within_ten_percent_at_each_point() -> None:
    for name, group in offload_errors().items():
        assert (group["largest"] or 1) < 0.10, name


def test_time_is_linear_in_depth() -> None:
    for name, group in depth_errors().items():
        assert (group["largest"] or 1) < 0.05, name


def test_a_cache_costs_what_the_card_table_says() -> None:
    assert (slope_errors()["depth, slope as shipped"]["median"] or 1) < 0.10


def test_a_quantized_cache_is_unpacked_as_slowly_as_it_was_on_two_cards() -> None:
    for name, group in cache_slope_errors().items():
        assert (group["median"] or 1) < 0.15, name


def test_prompts_of_small_models_and_of_experts_are_predicted() -> None:
    found = prompt_groups()
    assert (found["NVIDIA Hopper"]["shipped"] or 1) < 0.10
    assert (found["NVIDIA RTX 40 and 50"]["shipped"] or 1) < 0.10
    assert (found["gpt-oss-20b, nine devices"]["shipped"] or 1) < 0.25


def test_layers_on_a_host_follow_from_its_memory_on_hosts_that_were_left_out() -> None:
    found = host_errors()
    assert (found["all but held out"]["left out"] or 1) < 0.10
    assert (found["Xeon, 16 cores"]["shipped"] or 1) < 0.12, "an H100's host, which has no say in the constant"
    assert share_of(host_rows()) == pytest.approx(READ_SHARE, abs=0.005)


def test_an_h100_that_no_constant_was_fitted_to_is_predicted() -> None:
    found = again_errors()
    for way in ("all on the card", "behind a context", "layers on the host"):
        group = found[f"H100, {way}"]
        assert (group["calibrated now"] or 1) < 0.10, way
        assert (group["calibrated now"] or 1) < (group["calibrated then"] or 0), way
        assert (group["table now"] or 1) < (group["table then"] or 0), way


def test_types_of_one_model_are_as_fast_beside_each_other_as_they_ran() -> None:
    """llama.cpp's README: Llama-3.1-8B in 24 types on one unnamed machine, whose bandwidth its F16 run gives."""
    with open(DATA / "speed.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["device"] == "unnamed"]
    shipped, layers = card_rates(find_card("RTX 2080")), 32
    read = {row["quant"]: float(row["file_GiB"]) * 2**30 - EMBEDDING * _bits(row["quant"]) / 8 for row in rows}
    measured = {row["quant"]: float(row["tg_tok_s"]) for row in rows}
    whole = fit_rates([DecodeRun(family=Family.F16, nbytes=read["F16"], layers=layers, seconds=1 / 29.17)], shipped)
    predicted = {
        t: 1 / (whole.read_seconds(nbytes, ((family_of(t), 1.0),)) + layers * whole.seconds_per_layer)
        for t, nbytes in read.items()
    }
    by_bytes = {t: measured["F16"] * read["F16"] / nbytes for t, nbytes in read.items()}
    error, naive = (median(abs(v[t] / measured[t] - 1) for t in measured) for v in (predicted, by_bytes))
    assert error < 0.15
    assert error < naive / 3, "half the bits are not twice the speed"
    four_bits_and_more = [t for t in measured if family_of(t) not in (Family.IQ, Family.K3)]
    ranks = [[values[t] for t in four_bits_and_more] for values in (predicted, measured)]
    assert _rank_correlation(*ranks) > 0.9
    assert predicted["Q3_K_M"] < 1.15 * predicted["Q4_K_M"], "fewer bits are hardly faster below four"


EMBEDDING = 128_256 * 4096
"""Weights of Llama 3's token embedding, of which a token reads one row."""


def _bits(type: str) -> float:
    return 16.0 if type == "F16" else 8.5 if type == "Q8_0" else 4.5


def _rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's."""
    a, b = (np.argsort(np.argsort(values)) for values in (first, second))
    return float(np.corrcoef(a, b)[0, 1])
