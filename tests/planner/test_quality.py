"""Quality is evidence in an order of trust, and every number names who measured it, on what, and who gains by it."""

from dataclasses import replace

import pytest

from pennyweight.planner.ladder import BEST_FIRST
from pennyweight.planner.published_quality import CACHES, LLAMA_3_8B, RULE_OF_THUMB, WEIGHTS
from pennyweight.planner.quality import Metric, cache_quality, is_same_model, quality_of
from pennyweight.planner.quantity import Basis
from pennyweight.recipes import file_types
from pennyweight.store.measurement import Measurement

MEASURED = Measurement(
    model="Qwen/Qwen3-8B",
    fingerprint="0" * 64,
    type="Q4_K_M",
    bytes=1,
    bits_per_weight=4.9,
    metric="kld_mean",
    value=0.021,
    stderr=0.001,
    protocol="llama-perplexity's, 512 tokens",
    engine="llama.cpp",
    versions="",
    hardware="",
    when="2026-11-01T00:00:00+00:00",
)


def test_what_was_measured_here_comes_before_what_was_published_and_that_before_the_rule_of_thumb() -> None:
    found = quality_of(("Qwen3-8B",), "Q4_K_M", [MEASURED]).evidence
    order = [Basis.MEASURED, Basis.PUBLISHED, Basis.HEURISTIC]
    assert [item.quantity.basis for item in found] == sorted((i.quantity.basis for i in found), key=order.index)
    assert found[0].quantity.value == 0.021
    assert (found[0].quantity.low, found[0].quantity.high) == pytest.approx((0.019, 0.023))


def test_the_newest_measurement_of_a_metric_is_the_one_shown() -> None:
    newer = replace(MEASURED, value=0.03, when="2026-11-02T00:00:00+00:00")
    assert quality_of(("Qwen3-8B",), "q4_k_m", [MEASURED, newer]).evidence[0].quantity.value == 0.03


def test_another_models_measurement_is_never_this_ones() -> None:
    found = quality_of(("Qwen3-14B",), "Q4_K_M", [MEASURED, replace(MEASURED, model="Qwen3-8B-Instruct")])
    assert all(item.quantity.basis != Basis.MEASURED for item in found.evidence)


def test_names_of_one_model_agree_whatever_the_folder_case_or_suffix() -> None:
    assert is_same_model("Qwen/Qwen3-8B", "qwen3-8b")
    assert is_same_model("/data/Meta-Llama-3-8B.gguf", "Llama-3-8B")
    assert not is_same_model("Llama-3-8B", "Llama-3.1-8B")
    assert not is_same_model("Llama-3-8B-Instruct", "Llama-3-8B")


def test_a_published_number_of_the_very_model_comes_before_one_of_another() -> None:
    best = quality_of(("Llama-2-7B",), "Q4_K_M").best
    assert best is not None
    assert best.same_model
    assert best.quantity.value == 0.012686
    other = quality_of(("Qwen3-8B",), "Q4_K_M").best
    assert other is not None
    assert not other.same_model
    assert (other.quantity.low, other.quantity.high) == (0.012686, 0.031273)


def test_every_number_says_who_measured_it_on_what_and_who_gains() -> None:
    for type in {row.type for survey in WEIGHTS for row in survey.rows} | set(RULE_OF_THUMB):
        for item in quality_of(("x",), type).evidence:
            assert item.measured_by
            assert item.on
            assert item.interest
            assert item.quantity.source
            assert item.quantity.source in item.sentence


def test_a_type_nobody_measured_is_unknown() -> None:
    assert quality_of(("x",), "MXFP4").label == "unknown"
    assert quality_of(("x",), "MXFP4").best is None


def test_published_divergence_orders_the_types_as_the_ladder_does() -> None:
    best = {row.type: row.kld for row in LLAMA_3_8B.rows if row.kld is not None}  # rows with a matrix stand last
    ranked = [best[name] for name in BEST_FIRST if name in best]
    assert ranked == sorted(ranked)


def test_every_file_type_we_make_has_a_place_in_the_ladder() -> None:
    assert {kind.name for kind in file_types.ALL} == set(BEST_FIRST)


def test_a_divergence_and_its_perplexity_agree_in_direction() -> None:
    for survey in (*WEIGHTS, *CACHES):
        for row in survey.rows:
            assert row.perplexity is None or row.perplexity >= survey.base_perplexity


def test_an_eight_bit_cache_costs_less_than_any_quantized_weights_but_q8_0() -> None:
    best = cache_quality("q8_0", "q8_0").best
    assert best is not None
    assert best.metric == Metric.KLD
    assert best.quantity.value < min(row.kld or 1 for row in LLAMA_3_8B.rows if row.type != "F16")


def test_labels_say_what_they_are() -> None:
    assert quality_of(("x",), "Q4_K_M").label == "KLD 0.031"
    assert quality_of(("x",), "Q8_0").label == "KLD 0.0014"
    assert quality_of(("x",), "AWQ").label == "ppl +2.4 %"
    assert quality_of(("x",), "F16").label == "KLD <0.0001"
    assert quality_of(("x",), "BF16").label == "unquantized"
    assert quality_of(("x",), "IQ4_XS").label == "KLD 0.036"
