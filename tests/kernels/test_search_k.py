"""The affine searches beyond what weights reach: overflow, NaN, and scales below zero that wrap in a byte."""

import numpy as np
import pytest

from pennyweight.formats import q2_k, search
from pennyweight.formats.search import AffineSearch, weighted_search

pytestmark = pytest.mark.slow

LANES = 16
SPECIAL = np.float32([0, -0.0, 0.5, 1.5, 2.5, -1, 14.5, 15.5, 16, 2**22, 2**23, -(2**22), 3e9, np.inf, -np.inf, np.nan])


def random_floats(count: int) -> np.ndarray:
    """Any float32 at all, infinities and NaN among them, and many between 2^20 and 2^26 of both signs."""
    rng = np.random.default_rng(8)
    large = rng.choice([-1, 1], count) * 2.0 ** rng.uniform(20, 26, count)
    bits = rng.integers(0, 1 << 32, count, np.uint32).view(np.float32)
    return np.concatenate([SPECIAL, large.astype(np.float32), bits])


@pytest.mark.parametrize("plan", [q2_k.PLAIN, weighted_search(15)], ids=["round first", "clamp first"])
def test_codes_of_any_number_are_those_of_the_definition(plan: AffineSearch):
    from pennyweight.kernels.compile import lane_function
    from pennyweight.kernels.search_qkx import affine_codes, compiled
    from pennyweight.kernels.simd_memory import load, store

    @lane_function
    def all_codes(values, plan, out):
        for i in range(0, len(values), LANES):
            store(out, i, affine_codes(load(values, i), plan))

    values = random_floats(1024)
    out = np.empty_like(values)
    all_codes(values, compiled(plan), out)
    with np.errstate(all="ignore"):
        clamped = np.where(values > 0, np.minimum(values, np.float32(plan.top)), np.float32(0))
        expected = search.nearest_int(clamped if plan.clamp_first else values)
    np.testing.assert_array_equal(out, np.clip(expected, 0, plan.top))


@pytest.mark.parametrize("kind", ["scales", "some below zero", "below zero", "tiny", "equal"])
def test_scales_of_scales_are_those_of_the_definition(kind: str):
    from pennyweight.kernels.compile import lane_function
    from pennyweight.kernels.search_qp import fit_scales
    from pennyweight.kernels.simd_memory import store

    @lane_function
    def fit(values, weights, codes, scale):
        store(scale, 0, fit_scales(values, weights, codes, 8, np.float32(63)))

    rng = np.random.default_rng(9)
    numbers = {
        "scales": rng.random((LANES, 8)),
        "some below zero": rng.standard_normal((LANES, 8)),
        "below zero": -rng.random((LANES, 8)),
        "tiny": rng.random((LANES, 8)) * np.where(np.arange(LANES) % 2, 1e-16, 1e-14)[:, None],
        "equal": np.ones((LANES, 8)),
    }[kind].astype(np.float32)
    weights = np.exp(rng.standard_normal((LANES, 8))).astype(np.float32)
    codes, scale = np.empty(8 * LANES, np.float32), np.empty(LANES, np.float32)
    fit(numbers.T.ravel(), weights.T.ravel(), codes, scale)
    with np.errstate(all="ignore"):
        expected_scale, expected_codes = search.make_qp(numbers, weights, 63)
    np.testing.assert_array_equal(scale, expected_scale)
    np.testing.assert_array_equal(codes.reshape(8, LANES).T, expected_codes)


def test_a_scale_below_zero_wraps_in_its_byte_and_is_then_limited():
    from pennyweight.kernels.compile import lane_function
    from pennyweight.kernels.six_bit import limit
    from pennyweight.kernels.superblock import code_by_largest, new_scratch

    @lane_function
    def code(values, codes, limited):
        s = new_scratch()
        code_by_largest(values, s.scale_code, 8, np.float32(63))
        s.minimum_code[:] = 0
        codes[:] = s.scale_code[: 8 * LANES]
        limit(s)
        limited[:] = s.scale_code[: 8 * LANES]

    values = np.tile(np.float32([1, 0.5, 0, -1 / 63, -1, -5, 0.25, 1]), (LANES, 1)).T.ravel()
    codes, limited = np.empty(8 * LANES, np.float32), np.empty(8 * LANES, np.float32)
    code(values, codes, limited)
    wrapped = np.float32([63, 32, 0, 255, 193, 197, 16, 63])  # -1, -63 and -315 modulo 256
    np.testing.assert_array_equal(codes.reshape(8, LANES).T, np.tile(wrapped, (LANES, 1)))
    np.testing.assert_array_equal(limited, np.minimum(codes, 63))
