"""The 8-bit floats against torch's casts and ml_dtypes: every float16, random float32 bits, ties and subnormals."""

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight.formats import FP8_E4M3, FP8_E5M2
from pennyweight.formats.base import BlockFormat

DTYPES = {"FP8_E4M3": ml_dtypes.float8_e4m3fn, "FP8_E5M2": ml_dtypes.float8_e5m2}
EVERY_CODE = np.arange(256, dtype=np.uint8)[None]

each = pytest.mark.parametrize("format", [FP8_E4M3, FP8_E5M2], ids=lambda f: f.name)


def many_numbers() -> NDArray[np.float32]:
    """Float32 (1, n): all float16, a hundred thousand random bit patterns, and every midpoint of two codes ± 1 ulp."""
    rng = np.random.default_rng(5)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    patterns = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    codes = np.concatenate([np.arange(127, dtype=np.uint8).view(d).astype(np.float32) for d in DTYPES.values()])
    codes = codes[np.isfinite(codes)]
    middles = (codes[1:] + codes[:-1]) / np.float32(2)
    beside = np.concatenate([middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(1e9))])
    # Signalling NaN among the patterns are meant.
    with np.errstate(invalid="ignore"):
        return np.concatenate([halves.astype(np.float32), patterns, beside, -beside])[None]


@each
def test_every_code_reads_as_in_ml_dtypes(format: BlockFormat):
    np.testing.assert_array_equal(format.decode(EVERY_CODE)[0], EVERY_CODE[0].view(DTYPES[format.name]).astype("f4"))


@each
def test_every_number_is_written_back_to_its_own_code(format: BlockFormat):
    numbers = format.decode(EVERY_CODE)
    written = format.encode(numbers)
    np.testing.assert_array_equal(written[~np.isnan(numbers)], EVERY_CODE[~np.isnan(numbers)])
    assert np.isnan(format.decode(written)[np.isnan(numbers)]).all()


@each
@pytest.mark.torch
def test_codes_are_those_of_torch(format: BlockFormat):
    torch = pytest.importorskip("torch")
    dtype = {"FP8_E4M3": torch.float8_e4m3fn, "FP8_E5M2": torch.float8_e5m2}[format.name]
    numbers = many_numbers()
    np.testing.assert_array_equal(format.encode(numbers), torch.from_numpy(numbers).to(dtype).view(torch.uint8).numpy())


@each
def test_codes_are_those_of_ml_dtypes_up_to_the_edge(format: BlockFormat):
    numbers = many_numbers()
    edge = {"FP8_E4M3": 464, "FP8_E5M2": np.inf}[format.name]
    numbers = numbers[np.abs(numbers) <= edge][None]
    with np.errstate(all="ignore"):
        expected = numbers.astype(DTYPES[format.name]).view(np.uint8)
    np.testing.assert_array_equal(format.encode(numbers), expected)


def test_e4m3_saturates_where_e5m2_overflows():
    row = np.array([[1e6, -1e6, np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(FP8_E4M3.decode(FP8_E4M3.encode(row)), [[448, -448, 448, -448]])
    np.testing.assert_array_equal(FP8_E5M2.decode(FP8_E5M2.encode(row)), [[np.inf, -np.inf, np.inf, -np.inf]])
