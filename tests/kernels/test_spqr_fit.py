"""SpQR's scales and zero points: the kernels find what the definition finds, bit for bit."""

import numpy as np
import pytest

from pennyweight.formats import spqr_fit as definition
from pennyweight.kernels import spqr_fit as kernels

pytestmark = pytest.mark.slow


def matrix(rows: int, groups: int, n: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-tailed groups, flat ones, zeros, one of one sign; costs that differ, some of them zero."""
    rng = np.random.default_rng(rows + n)
    x = (rng.standard_t(4, (rows, groups, n)) * size).astype(np.float32)
    x[0], x[1], x[2], x[3] = 0, -0.0, size, -np.abs(x[3])
    cost = np.exp(rng.standard_normal(x.shape)).astype(np.float32)
    cost[rng.random(x.shape) < 0.1] = 0
    cost[4] = 0
    return x, cost


def tiles(x: np.ndarray) -> np.ndarray:
    """(rows, groups, n) → (rows / 16, groups · n, 16)."""
    return np.ascontiguousarray(x.reshape(len(x) // 16, 16, -1).swapaxes(1, 2))


def rows(found: np.ndarray) -> np.ndarray:
    return found.swapaxes(1, 2).reshape(-1, found.shape[1])


@pytest.mark.parametrize("size", [1e-8, 0.02, 30.0])
@pytest.mark.parametrize("n", [16, 32, 64])
def test_ranges_and_codes_are_those_of_the_definition(n: int, size: float) -> None:
    x, cost = matrix(48, 3, n, size)
    shape = (3, 3, 16)
    scale, zero, scale_codes, zero_codes = (np.zeros(shape, np.float32) for _ in range(4))
    kernels.search_ranges(tiles(x), tiles(cost), n, scale, zero)
    wanted = definition.search_ranges(x, cost)
    for found, expected in zip((scale, zero), wanted, strict=True):
        np.testing.assert_array_equal(rows(found), expected)
    second = np.stack([part for v in wanted for part in definition.second_order(v)[1]], -1).astype(np.float32)
    kernels.choose_codes(tiles(x), tiles(cost), n, second, scale_codes, zero_codes)
    for found, expected in zip((scale_codes, zero_codes), definition.choose_codes(x, cost, second), strict=True):
        np.testing.assert_array_equal(rows(found), expected)
    assert min(len(np.unique(scale_codes)), len(np.unique(zero_codes))) > 3
