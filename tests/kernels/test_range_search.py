"""The search for the range of integer grids: the kernel's scales and zero points are the definition's, bit for bit."""

import numpy as np
import pytest

from pennyweight.formats import grids as plain_grids
from pennyweight.formats.integer_grid import search_scale
from pennyweight.kernels import grids
from pennyweight.kernels.grids import search_in_threads

pytestmark = pytest.mark.slow

SHAPES = [(1, 1, 8), (16, 2, 128), (37, 3, 40), (70, 1, 300)]  # (rows, groups, n): whole and short tiles, ragged n
SIZES = [1, 1e-8, 1e-4, 1e6, 1e20, 3e38]  # scales from below float16's least to beyond its largest; errors to infinity


def groups(shape: tuple[int, int, int], size: float) -> np.ndarray:
    """Heavy-tailed weights, a row of zeros and one of negative zeros, one of one sign."""
    x = np.clip(np.random.default_rng(6).standard_t(4, shape) * size, -3.4e38, 3.4e38).astype(np.float32)
    x[0, 0, 0] = -0.0
    if len(x) > 3:
        x[1], x[2], x[3] = 0, -0.0, np.abs(x[3])
    return x


def bits_of(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, np.float32).view(np.uint32)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_scales_and_zero_points_are_those_of_the_definition(
    shape: tuple[int, int, int], size: float, symmetric: bool
) -> None:
    x = groups(shape, size)
    uneven = np.exp(np.random.default_rng(7).standard_normal(shape[1:])).astype(np.float32)
    for importance in (None, uneven, np.zeros_like(uneven)):
        for bits in (2, 3, 4, 8):
            with np.errstate(all="ignore"):
                expected = search_scale(x, importance, bits, symmetric)
            for found, wanted in zip(search_in_threads(x, importance, bits, symmetric), expected, strict=True):
                np.testing.assert_array_equal(bits_of(found), bits_of(wanted))


@pytest.mark.parametrize("name", ["INT4_G128", "INT3_G64_ASYM", "INT8"])
def test_whole_grids_with_a_short_last_group_are_fitted_alike(name: str) -> None:
    weight = groups((20, 1, 328), 0.02)[:, 0]
    importance = np.random.default_rng(8).random(328, np.float32)
    fast, slow = (of.get(name).with_search().fit(weight, importance) for of in (grids, plain_grids))
    for field in ("step", "zero"):
        np.testing.assert_array_equal(bits_of(getattr(fast, field)), bits_of(getattr(slow, field)))
