"""Grids: what a method rounds to is what the packed bytes decode to, here and in ggml, bit for bit."""

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.core.errors import BadRequest, ShapeError
from pennyweight.formats import grids
from pennyweight.formats.codes import BlockCodes, Float8Codes
from pennyweight.formats.grid import join
from tests.oracle import ggml_decode, hard_importances, hard_rows

COLUMNS = 512
ALL = (*grids.BLOCK_FORMATS, "INT2_G64", "INT3_G128", "INT4_G128_ASYM", "INT8", "FP8_E4M3", "FP8_E4M3_TENSOR")
each_block_grid = pytest.mark.parametrize("name", grids.BLOCK_FORMATS)
each_grid = pytest.mark.parametrize("name", ALL)


def rows(count: int = 12) -> np.ndarray:
    return np.random.default_rng(4).standard_t(4, (count, COLUMNS)).astype(np.float32) * np.float32(0.03)


def some_rows() -> np.ndarray:
    """Hard rows whose magnitudes stay in the range of a float16 scale."""
    hard = hard_rows(COLUMNS)
    return hard[np.abs(hard).max(1) < 1e4]


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(a.view(np.uint32), np.ascontiguousarray(b).view(np.uint32))


@pytest.mark.parametrize("weighted", [False, True])
@each_block_grid
def test_random_codes_with_fitted_parameters_decode_in_ggml_to_what_the_grid_says(name: str, weighted: bool) -> None:
    grid, data = grids.get(name), some_rows()
    parameters = grid.fit(data, hard_importances(COLUMNS)["lognormal"] if weighted else None)
    codes = np.random.default_rng(8).integers(0, grid.top + 1, data.shape).astype(np.uint8)
    packed = grid.pack(codes, parameters)
    assert isinstance(packed, BlockCodes)
    same_bits(ggml_decode(name, packed.data, COLUMNS), grid.decode(codes, parameters))
    same_bits(packed.decode(), grid.decode(codes, parameters))


@each_block_grid
def test_the_fits_own_codes_packed_again_are_the_encoders_bytes(name: str) -> None:
    grid, data = grids.get(name), some_rows()
    parameters = grid.fit(data)
    np.testing.assert_array_equal(
        grid.pack(grid.nearest(data, parameters), parameters).data, formats.get(name).encode(data)
    )


@each_grid
def test_rounding_finds_the_nearest_code(name: str) -> None:
    grid, data = grids.get(name), rows()
    parameters = grid.fit(data)
    codes = grid.round(data, parameters)
    error = np.abs(grid.decode(codes, parameters) - data)
    for step in (-1, 1):
        beside = np.clip(codes.astype(int) + step, 0, grid.top).astype(np.uint8)
        assert (np.abs(grid.decode(beside, parameters) - data) >= error * (1 - 1e-4)).all()


@each_grid
def test_packed_codes_decode_to_what_the_grid_says(name: str) -> None:
    grid, data = grids.get(name), rows()
    parameters = grid.fit(data)
    codes = grid.round(data, parameters)
    np.testing.assert_array_equal(grid.pack(codes, parameters).decode(), grid.decode(codes, parameters))
    assert grid.pack(codes, parameters).stored_bits == grid.stored_bits(*data.shape)


@pytest.mark.parametrize("name", [name for name in ALL if grids.get(name).unit])
def test_units_fitted_one_by_one_and_joined_are_the_whole_fit(name: str) -> None:
    grid, data = grids.get(name), rows()
    # Some encoders weigh a whole row's mean square where there is importance; without it each unit stands alone.
    parts = [grid.fit(data[:, i : i + grid.unit]) for i in range(0, COLUMNS, grid.unit)]
    whole, joined = grid.fit(data), join(parts)
    for field in ("step", "zero", "minimum"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(joined, field))
    codes = grid.round(data, whole)
    np.testing.assert_array_equal(grid.pack(codes, joined).decode(), grid.pack(codes, whole).decode())


@pytest.mark.torch
@pytest.mark.parametrize("name", ["FP8_E4M3", "FP8_E4M3_TENSOR"])
def test_fp8_rounds_as_torch_casts_with_ties_to_even(name: str) -> None:
    torch = pytest.importorskip("torch")
    grid, data = grids.get(name), rows()
    data[0, :128] = np.arange(-64, 64) / 2 ** np.float32(3)  # with a scale of 1, all the ties of two binades
    data[0, 128] = 448
    parameters = grid.fit(data)
    packed = grid.pack(grid.round(data, parameters), parameters)
    assert isinstance(packed, Float8Codes)
    expected = torch.from_numpy(data / parameters.step).to(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(formats.get("FP8_E4M3").decode(packed.codes), expected)


def test_ragged_rows_are_refused_where_the_format_has_whole_blocks() -> None:
    with pytest.raises(ShapeError, match="Q4_K needs rows in multiples of 256 weights, got 320; use IQ4_NL"):
        grids.get("Q4_K").fit(np.zeros((2, 320), np.float32))
    assert grids.get("INT4_G128").fit(np.ones((2, 320), np.float32)).step.shape == (2, 3)


def test_widths_and_groups_that_nothing_stores_are_refused() -> None:
    with pytest.raises(BadRequest, match="integer grids have 2, 3, 4, 8 bits, got 7"):
        grids.get("INT7_G128")
    with pytest.raises(BadRequest, match="a group is a multiple of 8 columns, got 12"):
        grids.get("int4_g12")
    with pytest.raises(BadRequest, match="Q4_K searches its own scales"):
        grids.get("Q4_K").with_search()
