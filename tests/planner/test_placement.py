"""Which blocks lie where, against llama.cpp's rule: block i is the card's where i ≥ blocks + 1 − ngl."""

import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.planner.footprint import Family, family_of, place, shares_of
from tests.planner.footprints import plain


@pytest.mark.parametrize("ngl", [0, 1, 2, 16, 32, 33, 99])
def test_the_last_layers_go_to_the_card_and_the_output_is_the_last_of_all(ngl: int) -> None:
    # llama.cpp src/llama-model.cpp: i_gpu_start = max(n_layer + 1 - n_gpu_layers, 0), the output layer being n_layer
    placement = place(plain(), ngl)
    assert list(placement.card_blocks) == [i for i in range(32) if i >= 33 - ngl]
    assert placement.output_on_card == (ngl > 0)
    assert placement.gpu_layers == min(ngl, 33)


@pytest.mark.parametrize("ngl", [0, 1, 7, 32, 33])
@pytest.mark.parametrize("lent", [0, 5, 32])
def test_every_byte_lies_in_one_place(ngl: int, lent: int) -> None:
    footprint = plain(experts=800 << 20)
    placement = place(footprint, ngl, lent)
    assert placement.card_weights + placement.host_weights == footprint.weights
    assert placement.card_cache + placement.host_cache == footprint.cache
    assert placement.card_read + placement.host_read == pytest.approx(footprint.read)


def test_experts_on_the_host_leave_attention_and_cache_on_the_card() -> None:
    placement = place(plain(experts=800 << 20), None, 32)
    assert placement.card_cache == placement.footprint.cache
    assert placement.host_weights == 32 * (800 << 20) + placement.footprint.embedding
    assert not placement.whole


def test_a_dense_model_has_no_experts_to_leave() -> None:
    assert place(plain(), None, 8).whole


@pytest.mark.parametrize(("ngl", "lent"), [(-1, 0), (4, -2)])
def test_negative_counts_are_refused(ngl: int, lent: int) -> None:
    with pytest.raises(BadRequest):
        place(plain(), ngl, lent)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Q4_K_M", Family.K),
        ("Q6_K", Family.K),
        ("IQ4_XS", Family.IQ4),
        ("Q3_K_M", Family.K3),
        ("Q2_K", Family.K3),
        ("iq3_s", Family.IQ),
        ("Q8_0", Family.Q8_0),
        ("Q4_0", Family.LEGACY),
        ("MXFP4", Family.LEGACY),
        ("BF16", Family.F16),
        ("UD-Q4_K_XL", Family.K),
    ],
)
def test_formats_belong_to_families(name: str, family: Family) -> None:
    assert family_of(name) is family


def test_shares_add_up_to_one() -> None:
    shares = shares_of([(Family.K, 3.0), (Family.Q8_0, 1.0), (Family.K, 4.0)])
    assert shares == ((Family.Q8_0, 0.125), (Family.K, 0.875))
