"""vLLM's and QServe's memory, against logs and batch sizes that others published, and against laws."""

import pytest

from benchmarks.plan_requests import CAPPED, qserve_rows, shaped, vllm_rows
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import GIB
from pennyweight.planner.resolve import from_catalogue
from pennyweight.planner.served_types import NAMES, get, served_bytes
from pennyweight.planner.vllm import VllmSettings, request_bytes, vllm_memory

SETTINGS = VllmSettings(max_model_len=8192)


def test_no_batch_that_qserve_s_authors_ran_is_said_not_to_fit() -> None:
    for name, card, used, planned in qserve_rows():
        assert planned >= used, f"{name} on {card}"


def test_where_memory_binds_the_planned_batch_is_near_the_one_they_chose() -> None:
    """They chose round numbers at or below what fits, so ratios lie above 1: 1.00 to 1.55, 1.2 in the middle."""
    ratios = sorted(planned / used for name, card, used, planned in qserve_rows() if (name, card) not in CAPPED)
    assert ratios[-1] < 1.6
    assert ratios[len(ratios) // 2] < 1.25


def test_the_cache_that_vllm_logged_is_planned_within_five_percent() -> None:
    errors = [abs(planned - logged) / logged for _, _, _, logged, _, planned in vllm_rows()]
    assert max(errors) < 0.05


def test_bf16_weights_are_what_vllm_says_it_loaded() -> None:
    made = vllm_memory(from_catalogue("Llama-3.1-8B"), get("BF16"), 24 * GIB, SETTINGS)
    assert made.weights_bytes / GIB == pytest.approx(14.9888, abs=0.005)  # `Loading model weights took 14.9888 GB`


def test_fewer_bits_never_weigh_more() -> None:
    anatomy = from_catalogue("Qwen3-8B")
    sizes = [served_bytes(anatomy, get(name)) for name in NAMES]
    assert sizes == sorted(sizes, reverse=True)


def test_two_cards_halve_weights_and_cache_of_each() -> None:
    anatomy = from_catalogue("Llama-3.1-8B")
    one = vllm_memory(anatomy, get("BF16"), 80 * GIB, SETTINGS)
    two = vllm_memory(anatomy, get("BF16"), 80 * GIB, VllmSettings(max_model_len=8192, tensor_parallel=2))
    assert two.weights_bytes == pytest.approx(one.weights_bytes / 2, rel=0.01)  # each has the tables of positions
    assert two.request_bytes == one.request_bytes // 2
    assert two.cache_tokens > 2 * one.cache_tokens


def test_key_value_heads_are_repeated_where_there_are_more_cards() -> None:
    anatomy = from_catalogue("Qwen3-30B-A3B")  # four key-value heads
    four, eight = (request_bytes(anatomy, 4096, VllmSettings(max_model_len=4096, tensor_parallel=n)) for n in (4, 8))
    assert four == eight


def test_a_request_takes_whole_pages() -> None:
    anatomy = from_catalogue("Qwen3-8B")
    assert request_bytes(anatomy, 1, SETTINGS) == request_bytes(anatomy, 16, SETTINGS)
    assert request_bytes(anatomy, 17, SETTINGS) == 2 * request_bytes(anatomy, 16, SETTINGS)


def test_an_fp8_cache_holds_twice_the_requests() -> None:
    anatomy = from_catalogue("Qwen3-8B")
    whole = request_bytes(anatomy, 4096, SETTINGS)
    assert request_bytes(anatomy, 4096, VllmSettings(max_model_len=4096, cache="fp8")) == whole // 2


def test_it_fits_only_if_a_request_of_full_length_does() -> None:
    anatomy = from_catalogue("Llama-3.1-8B")
    made = vllm_memory(anatomy, get("BF16"), 22.07 * GIB, VllmSettings(max_model_len=131_072))
    assert not made.fits  # vLLM's log: "max seq len (131072) is larger than … KV cache (37696)"
    assert made.cache_tokens == pytest.approx(37_696, rel=0.08)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_utilization_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(BadRequest):
        vllm_memory(shaped("Llama-2-70B"), get("AWQ"), 80 * GIB, VllmSettings(max_model_len=4096, utilization=share))


def test_cards_that_do_not_divide_the_heads_and_unknown_caches_are_refused() -> None:
    anatomy = from_catalogue("Qwen3-8B")
    with pytest.raises(BadRequest, match="does not divide"):
        vllm_memory(anatomy, get("AWQ"), 80 * GIB, VllmSettings(max_model_len=4096, tensor_parallel=3))
    with pytest.raises(UnknownName):
        vllm_memory(anatomy, get("AWQ"), 80 * GIB, VllmSettings(max_model_len=4096, cache="q8_0"))
    with pytest.raises(UnknownName):
        get("Q4_K_M")
