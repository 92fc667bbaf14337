"""The arithmetic that the searches stand on: rounding, the order of sums, which of equal extremes."""

import numpy as np

from pennyweight.formats.search import extremes, largest_magnitude, nearest_int, ordered_sum


def test_nearest_int_rounds_half_to_even_within_its_range():
    values = np.concatenate([np.arange(-40, 40, dtype=np.float32) / 4, np.float32([-(2**21) - 0.5, 2**21 + 0.5])])
    np.testing.assert_array_equal(nearest_int(values), np.rint(values))


def test_nearest_int_of_infinity_and_nan_is_what_c_reads_from_the_bits():
    values = np.array([np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(nearest_int(values), [-(2**22), -(2**22), 0])


def test_ordered_sum_adds_from_left_to_right_in_float32():
    terms = np.random.default_rng(2).standard_normal((5, 256)).astype(np.float32)
    for row, total in zip(terms, ordered_sum(terms), strict=True):
        by_definition = np.float32(0)
        for term in row:
            by_definition = np.float32(by_definition + term)
        assert total == by_definition
    assert (ordered_sum(terms) != terms.sum(axis=-1)).any()


def test_a_sum_of_negative_zeros_is_positive_as_in_c():
    assert not np.signbit(ordered_sum(np.full((1, 4), -0.0, np.float32)))[0]


def test_the_first_of_equal_magnitudes_is_the_largest():
    x = np.array([[1, -3, 3, 2], [1, 3, -3, 2], [-0.0, 0.0, -0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(largest_magnitude(x), [-3, 3, 0])
    assert not np.signbit(largest_magnitude(x)[2])


def test_the_first_of_equal_zeros_is_least_and_greatest():
    low, high = extremes(np.array([[-0.0, 0.0], [0.0, -0.0]], np.float32))
    np.testing.assert_array_equal(np.signbit(low), [True, False])
    np.testing.assert_array_equal(np.signbit(high), [True, False])
