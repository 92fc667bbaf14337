"""Units are read as people write them."""

import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import parse_bytes, parse_tokens, show_bytes, show_seconds


@pytest.mark.parametrize(("text", "tokens"), [("512", 512), ("32k", 32768), ("1.5K", 1536), ("1M", 1 << 20)])
def test_tokens_count_in_powers_of_1024(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "count"), [("2G", 2 * 10**9), ("24GB", 24 * 10**9), ("24GiB", 24 << 30), ("500M", 5 * 10**8), ("7", 7)]
)
def test_sizes_are_decimal_unless_they_say_i(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "-1", "k", "32kk", "0", "1.0001"])
def test_what_is_no_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_tokens(text)


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(BadRequest, match="12GiB"):
        parse_bytes("lots")


def test_bytes_and_seconds_are_shown_for_people() -> None:
    assert [show_bytes(n) for n in (12, 4.58 * 2**30, 17 << 20)] == ["12 B", "4.58 GiB", "17.0 MiB"]
    assert [show_seconds(s) for s in (0, 0.031, 0.84, 42, 185, 7800)] == [
        "0.0 s",
        "31 ms",
        "0.8 s",
        "42 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
