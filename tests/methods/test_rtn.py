"""Round-to-nearest on integer grids: by definition, and what its search and its zero points must satisfy."""

import numpy as np
import pytest

from pennyweight.core.errors import BadWeights, ShapeError, UnknownName
from pennyweight.formats import grids
from pennyweight.formats.codes import IntegerCodes

torch = pytest.importorskip("torch")

from pennyweight.methods.rtn import RtnConfig, quantize_weight  # noqa: E402
from pennyweight.methods.statistics import accumulate, nothing_seen  # noqa: E402

pytestmark = pytest.mark.torch

NAMES = ("INT2_G64", "INT3_G128", "INT4_G128", "INT4_G128_ASYM", "INT4", "INT8", "INT8_G32_ASYM")


def weights(rows: int = 6, columns: int = 320) -> "torch.Tensor":
    return torch.from_numpy(np.random.default_rng(1).standard_t(4, (rows, columns)).astype(np.float32) * 0.02)


def by_definition(weight: np.ndarray, bits: int, size: int, symmetric: bool) -> np.ndarray:
    """One number at a time, in Python's own floats where float32 is not asked for."""
    out = np.empty_like(weight)
    for i, row in enumerate(weight):
        for start in range(0, len(row), size):
            group = row[start : start + size]
            low, high = min(0.0, float(group.min())), max(0.0, float(group.max()))
            if symmetric:
                scale = float(np.float16(np.float32(max(-low, high)) * np.float32(2 / (2**bits - 1))))
                zero = 2 ** (bits - 1)
            else:
                scale = float(np.float16((np.float32(high) - np.float32(low)) / np.float32(2**bits - 1)))
                zero = min(2**bits - 1, max(0, round(-low / scale)))
            for j, w in enumerate(group):
                code = min(2**bits - 1, max(0, round(float(w) / scale) + zero))
                out[i, start + j] = scale * (code - zero)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_goes_to_the_code_that_the_definition_says(name: str) -> None:
    found = grids.INTEGER.fullmatch(name)
    weight = weights()
    expected = by_definition(
        weight.numpy(), int(found["bits"]), int(found["group"] or weight.shape[1]), not found["asymmetric"]
    )
    result = quantize_weight(weight, None, grids.get(name))
    np.testing.assert_allclose(result.weight.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_that_is_returned_is_what_the_codes_decode_to(name: str) -> None:
    result = quantize_weight(weights(), None, grids.get(name), RtnConfig(clip_search=True))
    assert isinstance(result.codes, IntegerCodes)
    np.testing.assert_array_equal(result.codes.decode(), result.weight.numpy())
    assert (result.codes.scale == result.codes.scale.astype(np.float16)).all()
    if result.codes.symmetric:
        assert (result.codes.zero_point == 2 ** (result.codes.bits - 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_search_never_raises_the_error_it_minimizes(name: str) -> None:
    weight, x = weights(), torch.from_numpy(np.random.default_rng(2).standard_t(3, (99, 320)).astype(np.float32))
    seen = accumulate(nothing_seen("layer", 320), x)
    plain = quantize_weight(weight, seen, grids.get(name), RtnConfig(clip_search=False))
    searched = quantize_weight(weight, seen, grids.get(name), RtnConfig(clip_search=True))
    error = [float((seen.mean_square * (weight - r.weight) ** 2).sum()) for r in (plain, searched)]
    assert error[1] <= error[0] * (1 + 1e-6)


def test_bits_are_counted_with_scales_zero_points_and_a_short_last_group() -> None:
    rows, columns = 6, 320  # three groups of 128, the last one short
    for name, expected in (
        ("INT4_G128", 6 * (320 * 4 + 3 * 16)),
        ("INT4_G128_ASYM", 6 * (320 * 4 + 3 * 20)),
        ("INT8", 6 * (320 * 8 + 16)),
    ):
        assert grids.get(name).stored_bits(rows, columns) == expected
        assert quantize_weight(weights(), None, grids.get(name)).codes.stored_bits == expected
    assert grids.get("INT4_G128").bits_per_weight(4096, 4096) == 4.125


def test_zeros_and_numbers_below_float16_decode_to_zero() -> None:
    for value in (0.0, 1e-20, -1e-9):
        for name in NAMES:
            result = quantize_weight(torch.full((2, 128), value), None, grids.get(name), RtnConfig(clip_search=True))
            assert torch.equal(result.weight, torch.zeros(2, 128))


def test_a_bad_number_is_named_with_its_place() -> None:
    weight = weights()
    weight[3, 17] = float("nan")
    with pytest.raises(BadWeights, match=r"blk\.1\.ffn_up\.weight: nan at row 3, column 17; "):
        quantize_weight(weight, nothing_seen("blk.1.ffn_up.weight", 320), grids.get("INT4_G128"))


def test_a_vector_is_refused() -> None:
    with pytest.raises(ShapeError, match="a matrix"):
        quantize_weight(torch.zeros(4), None, grids.get("INT4_G128"))


def test_unknown_grids_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="no grid named 'INT4_G'"):
        grids.get("INT4_G")
