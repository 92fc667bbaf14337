"""Confidence intervals: Wilson's against its definition and published values; the ends stay inside 0 … 1."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.evaluation.intervals import Z95, normal, wilson


@given(st.integers(1, 20_000), st.data())
def test_wilson_s_ends_are_the_shares_that_the_data_only_just_allow(count: int, data: st.DataObject) -> None:
    """By definition: at each end q, the observed share lies z standard errors of q away."""
    successes = data.draw(st.integers(0, count))
    found, share = wilson(successes, count), successes / count
    assert 0 <= found.low <= share <= found.high <= 1
    for end in (found.low, found.high):
        assert abs(share - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / count), abs=1e-6)


def test_wilson_gives_the_published_intervals() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for successes, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = wilson(successes, count)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_the_normal_interval_is_the_value_and_twice_the_error() -> None:
    found = normal(12.0, 0.5)
    assert (found.low, found.high) == (pytest.approx(11.02, abs=1e-3), pytest.approx(12.98, abs=1e-3))
