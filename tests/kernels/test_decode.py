"""Fast decoders: random bytes become the oracle's numbers, bit for bit, whatever the number of blocks."""

from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight import formats, kernels
from pennyweight.formats.base import BlockFormat
from tests.oracle import ggml_decode

pytestmark = pytest.mark.slow

FORMATS = tuple(formats.get(name) for name in kernels.COMPILED)
QUANTIZED = tuple(format for format in FORMATS if format.block_size > 1)
FLOATS = tuple(format for format in FORMATS if format.block_size == 1)

each_float = pytest.mark.parametrize("format", FLOATS, ids=lambda f: f.name)
each_quantized = pytest.mark.parametrize("format", QUANTIZED, ids=lambda f: f.name)


def random_bytes(format: BlockFormat, count: int, columns: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, format.row_bytes(columns)), np.uint8)


def assert_same_numbers(got: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Equal bits; a NaN (random bytes make scales of it) need only be some NaN."""
    both_nan = np.isnan(got) & np.isnan(expected)
    np.testing.assert_array_equal(
        np.where(both_nan, 0, got).view(np.uint32), np.where(both_nan, 0, expected).view(np.uint32)
    )


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_every_compiled_format_has_a_decoder_of_its_own(format: BlockFormat):
    assert callable(import_module(f"pennyweight.kernels.{format.name.lower()}").decode)


@each_quantized
def test_random_bytes_decode_to_the_oracles_numbers(format: BlockFormat):
    data = random_bytes(format, 64, 1024)
    assert_same_numbers(kernels.decode(format, data), ggml_decode(format.name, data, 1024))


@pytest.mark.parametrize("count", [1, 3])
@each_quantized
def test_one_block_and_odd_numbers_of_blocks_decode_to_the_oracles_numbers(format: BlockFormat, count: int):
    for blocks in (1, 3, 17):
        columns = blocks * format.block_size
        data = random_bytes(format, count, columns)
        assert_same_numbers(kernels.decode(format, data), ggml_decode(format.name, data, columns))


@each_float
def test_all_patterns_decode_to_the_definitions_numbers(format: BlockFormat):
    data = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(4, -1)
    assert_same_numbers(kernels.decode(format, data), format.decode(data))


@each_float
def test_a_row_of_odd_length_decodes_to_its_last_weight(format: BlockFormat):
    for columns in (1, 3, 15, 16, 17, 33):
        data = random_bytes(format, 3, columns)
        assert_same_numbers(kernels.decode(format, data), format.decode(data))


@each_quantized
def test_decoding_what_was_encoded_comes_back_near(format: BlockFormat):
    rows = np.random.default_rng(4).standard_normal((8, 512)).astype(np.float32)
    error = kernels.decode(format, kernels.encode(format, rows)) - rows
    # A grid of b bits over about ±3σ has steps of 6 / 2^b, and errors of a twelfth of a step's square.
    bits = int(format.name[2 if format.name[0] == "I" else 1])
    assert float(np.mean(error**2)) < (6 / 2**bits) ** 2 / 12
