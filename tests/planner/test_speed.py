"""Seconds: the serial sum by definition, the laws that every speed obeys, and the published curves."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import MIB
from pennyweight.planner.card_names import find_card
from pennyweight.planner.curve import layers_curve, size_curve, through_two_points
from pennyweight.planner.footprint import Family, Placement, place
from pennyweight.planner.host import Host, host_rates
from pennyweight.planner.quantity import Basis
from pennyweight.planner.rates import Rates, card_rates, class_of
from pennyweight.planner.speed import (
    STREAM_BANDWIDTH,
    Machine,
    batch_decode_seconds,
    decode_seconds,
    decode_speed,
    experts_touched,
    prompt_seconds,
)
from tests.planner.footprints import plain

HOST = host_rates(Host())


def machine(card: str = "RTX 4070") -> Machine:
    found = find_card(card)
    return Machine(card=card_rates(found), host=HOST, link_bandwidth=found.link_bandwidth)


def _by_definition(placement: Placement, made: Machine, depth: float) -> float:
    """Every block in turn, on the device that it lies on."""
    footprint, card, host = placement.footprint, made.card, made.host
    assert card is not None
    (family, _), *_ = footprint.shares
    total = card.seconds_per_token
    for i, block in enumerate(footprint.blocks):
        rates = card if i in placement.card_blocks else host
        experts_at = host if i in placement.expert_blocks_on_host else rates
        for at, nbytes in ((rates, block.weights), (experts_at, block.experts_read)):
            total += nbytes / (dict(at.efficiency)[family] * at.bandwidth)
        total += rates.seconds_per_layer * ((1.25 if block.experts else 1) + 1.35 * block.recurrent)
        total += block.cache_read * depth / (dict(rates.cache_efficiency)[footprint.cache_family] * rates.bandwidth)
    last = card if placement.output_on_card else host
    return total + footprint.output / (dict(last.efficiency)[family] * last.bandwidth)


@pytest.mark.parametrize("layers", [0, 1, 10, 32, 33])
@pytest.mark.parametrize("lent", [0, 20])
def test_a_token_costs_what_its_blocks_cost_in_turn(layers: int, lent: int) -> None:
    placement = place(plain(experts=300 * MIB), layers, lent)
    made = machine()
    assert made.card is not None
    made = replace(made, card=replace(made.card, seconds_per_token=2e-4))
    expected = _by_definition(placement, made, 5000)
    assert decode_seconds(placement, made, 5000) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    block=st.integers(1, 2000),
    layers=st.integers(0, 32),
    faster=st.floats(1, 10),
    depth=st.integers(0, 200_000),
    family=st.sampled_from(list(Family)),
    card=st.sampled_from(["RTX 2080", "RTX 5090", "RX 7900 XT", "H100", "GTX 1080 Ti", "Arc B580"]),
)
def test_more_bandwidth_more_layers_and_less_context_are_never_slower(
    block: int, layers: int, faster: float, depth: int, family: Family, card: str
) -> None:
    footprint, made = plain(block=block * MIB, family=family), machine(card)
    assert made.card is not None
    placement = place(footprint, layers)
    seconds = decode_seconds(placement, made, depth)
    wider = replace(made, card=replace(made.card, bandwidth=made.card.bandwidth * faster))
    assert decode_seconds(placement, wider, depth) <= seconds
    assert decode_seconds(placement, made, depth + 1000) >= seconds
    assert 0 < seconds < math.inf
    if block >= 20:  # a thinner block costs less on the processor, which starts no kernels
        assert decode_seconds(place(footprint, layers + 1), made, depth) <= seconds


def test_twice_the_bytes_are_less_than_twice_the_time() -> None:
    small, large = (decode_seconds(place(plain(block=n * MIB)), machine()) for n in (50, 100))
    assert small < large < 2 * small


def test_a_prompt_is_bound_by_arithmetic_on_the_card_and_by_the_link_off_it() -> None:
    footprint, made = plain(), machine()
    assert made.card is not None
    resident = prompt_seconds(place(footprint), made, 2048)
    layers = 4 * 32 * made.card.prompt_seconds_per_layer  # four micro-batches of 512
    assert resident == pytest.approx(layers + 2 * footprint.parameters_used * 2048 / made.card.prompt_flops, rel=0.15)
    spilled = place(footprint, 17)
    assert made.link_bandwidth > STREAM_BANDWIDTH, "pages of a file's are copied before they are sent"
    streamed = 4 * (spilled.host_weights - footprint.embedding) / STREAM_BANDWIDTH
    assert prompt_seconds(spilled, made, 2048) == pytest.approx(resident + streamed)
    assert prompt_seconds(spilled, made, 2048, micro_batch=2048) < prompt_seconds(spilled, made, 2048)
    assert prompt_seconds(place(footprint), made, 0) == 0


def test_a_prompt_touches_each_expert_once_a_micro_batch() -> None:
    # Qwen3-30B-A3B reads prompts at a quarter of what its used weights would ask for (H200, 6,666 tokens/s)
    made, experts, dense = machine("H200"), plain(experts=800 * MIB), plain(block=200 * MIB)
    routed = 800 * MIB / 8 * 32 * 2
    experts = replace(experts, parameters_routed=routed, parameters_used=dense.parameters_used)
    assert made.card is not None
    gap = prompt_seconds(place(experts), made, 512) - prompt_seconds(place(dense), made, 512)
    blocks = 32 * 0.25 * made.card.prompt_seconds_per_layer
    k = made.card.prompt_seconds(1, ((Family.K, 1.0),))
    assert gap == pytest.approx(blocks + 2 * routed * 64 / 8 * made.card.expert_tokens * k, rel=1e-6)
    larger = [prompt_seconds(place(experts), made, 2048, micro_batch=n) for n in (512, 2048)]
    assert larger[1] < larger[0]


def test_what_a_prompt_costs_grows_with_it_at_any_length() -> None:
    for footprint in (plain(), replace(plain(experts=800 * MIB), parameters_routed=1e9)):
        seconds = [prompt_seconds(place(footprint), machine(), n) for n in (1, 8, 100, 512, 513, 4096)]
        assert seconds == sorted(seconds)
        assert seconds[0] > 0


def test_a_batch_reads_weights_once() -> None:
    placement, made = place(plain(), 10), machine()
    one, eight = batch_decode_seconds(placement, made, 1), batch_decode_seconds(placement, made, 8)
    assert one == pytest.approx(decode_seconds(placement, made))
    assert eight == pytest.approx(one), "what binds is the weights, and they are read once"
    deep = [batch_decode_seconds(placement, made, n, 4096) - batch_decode_seconds(placement, made, n) for n in (1, 8)]
    assert deep[1] == pytest.approx(8 * deep[0]), "each slot reads its own cache"
    assert batch_decode_seconds(placement, made, 100_000) > 10 * one, "arithmetic binds in the end"


def test_a_batch_of_an_expert_model_reads_more_experts() -> None:
    placement, made = place(plain(experts=800 * MIB)), machine()
    one, sixteen = batch_decode_seconds(placement, made, 1), batch_decode_seconds(placement, made, 16)
    assert one == pytest.approx(decode_seconds(placement, made))
    assert one < sixteen < 16 * one
    assert experts_touched(64, 8, 1) == pytest.approx(1 / 8)
    assert experts_touched(64, 8, 10_000) == pytest.approx(1)
    assert experts_touched(0, 0, 5) == 1


def test_a_speed_says_what_it_is_worth() -> None:
    speed = decode_speed(place(plain()), machine())
    assert speed.basis is Basis.HEURISTIC
    assert "card table" in speed.source
    assert speed.low is not None
    assert speed.high is not None
    assert speed.low < speed.value < speed.high


def test_a_curve_has_its_knee_where_the_card_is_full() -> None:
    curve = layers_curve(plain(), machine(), 20)
    speeds = [point.tokens_per_second for point in curve.points]
    assert speeds == sorted(speeds)
    assert len(speeds) == 34
    assert curve.knee.gpu_layers == 20
    assert [point.fits for point in curve.points] == [n <= 20 for n in range(34)]
    assert curve.cliff == pytest.approx(speeds[-1] / speeds[20])
    assert layers_curve(plain(), machine(), 33).cliff == 1


def test_speed_falls_slowly_up_to_the_room_and_fast_beyond_it() -> None:
    room = 3200.0 * MIB
    points = size_curve(plain(), machine(), room, [room / 2, room, 1.1 * room])
    before = points[0].tokens_per_second / points[1].tokens_per_second
    after = points[1].tokens_per_second / points[2].tokens_per_second
    assert before < 2
    assert after > 1.5
    assert points[1].card_share == 1


# llama-bench's README, LLaMA-7B Q4_0: layers on the card (of 33) and tokens/s
README = [(10, 13.45), (20, 21.36), (30, 40.04), (31, 48.19), (32, 54.78), (33, 60.62)]


def test_a_published_partial_offload_curve_follows_from_its_end_points() -> None:
    model = plain(blocks=32, block=115 * MIB, output=70 * MIB, family=Family.LEGACY)
    (first, slow), (last, fast) = README[0], README[-1]
    rates = through_two_points(place(model, first), slow, place(model, last), fast)
    assert rates.tokens_per_second(place(model, first)) == pytest.approx(slow)
    for layers, speed in README[1:-1]:
        assert rates.tokens_per_second(place(model, layers)) == pytest.approx(speed, rel=0.1), layers


def test_two_runs_that_cannot_be_are_refused() -> None:
    ten, twenty = place(plain(), 10), place(plain(), 20)
    for arguments in ((ten, 5.0, ten, 6.0), (ten, 5.0, twenty, 500.0), (ten, 0.0, twenty, 6.0)):
        with pytest.raises(BadRequest):
            through_two_points(*arguments)


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("A100", "NVIDIA, datacenter memory"),
        ("H100", "NVIDIA Hopper"),
        ("H200", "NVIDIA Hopper"),
        ("B200", "NVIDIA, datacenter memory"),
        ("V100", "NVIDIA RTX 20"),
        ("RTX PRO 6000", "NVIDIA RTX 40 and 50"),
        ("A10", "NVIDIA RTX 30"),
        ("P40", "NVIDIA GTX 10"),
        ("GB10", "NVIDIA RTX 40 and 50"),
        ("Iris Xe", "Intel"),
        ("M5 Max", "Apple M4 and later"),
    ],
)
def test_a_card_gets_the_constants_of_its_class(card: str, name: str) -> None:
    assert class_of(find_card(card)).name == name


def test_rates_cover_every_family() -> None:
    rates: Rates = card_rates(find_card("RTX 4090"))
    assert {family for family, _ in rates.efficiency} == {family for family, _ in rates.cache_efficiency} == set(Family)
