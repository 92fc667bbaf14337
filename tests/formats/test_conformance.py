"""One suite for every format: sizes, bits read, bytes written, refusals and what the docstring says."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.core.errors import ShapeError
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.search import importance_weights, make_qkx, weighted_search
from pennyweight.formats.superblock import mean_square, sub_blocks
from tests.oracle import ggml_decode, ggml_encode, hard_importances, hard_rows, library

COLUMNS = 512
GOLDEN = Path(__file__).parents[1] / "golden" / "formats.npz"
IN_GGUF = tuple(f for f in formats.ALL if f.ggml_type is not None)
IMPORTANCES = {"none": None, **hard_importances(COLUMNS)}

each_format = pytest.mark.parametrize("format", formats.ALL, ids=lambda f: f.name)
each_in_gguf = pytest.mark.parametrize("format", IN_GGUF, ids=lambda f: f.name)


def bits(numbers: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(numbers).view(np.uint32)


def random_bytes(format: BlockFormat, rows: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (rows, format.row_bytes(COLUMNS)), np.uint8)


@each_in_gguf
def test_sizes_and_name_are_those_of_ggml(format: BlockFormat):
    assert library().ggml_blck_size(format.ggml_type) == format.block_size
    assert library().ggml_type_size(format.ggml_type) == format.block_bytes
    assert library().ggml_type_name(format.ggml_type).decode().upper() == format.name


@each_format
def test_the_file_is_named_after_the_format_and_its_docstring_states_the_size(format: BlockFormat):
    text = import_module(f"pennyweight.formats.{format.name.lower()}").__doc__
    weights = f"{format.block_size} weight" + "s" * (format.block_size > 1)
    size = f"{format.block_bytes} byte" + "s" * (format.block_bytes > 1)
    assert text.startswith(f"{format.name}: {weights} in {size}, {format.bits_per_weight:g} bits per weight")
    assert "\nSource: " in text


@each_in_gguf
def test_random_bytes_decode_to_the_oracles_bits(format: BlockFormat):
    data = random_bytes(format)
    expected = data.view(np.float32) if format.name == "F32" else ggml_decode(format.name, data, COLUMNS)
    np.testing.assert_array_equal(bits(format.decode(data)), bits(expected))


@pytest.mark.parametrize("importance", IMPORTANCES)
@each_in_gguf
def test_hard_rows_encode_to_the_oracles_bytes(format: BlockFormat, importance: str):
    rows, weights = hard_rows(COLUMNS), IMPORTANCES[importance]
    expected = ggml_encode(format.ggml_type, rows, weights)
    different = (format.encode(rows, weights) != expected).any(axis=1)
    assert not different.any(), f"rows {np.flatnonzero(different)} differ"


@each_in_gguf
def test_rows_whose_squares_overflow_float32_encode_to_the_oracles_bytes(format: BlockFormat):
    rows = hard_rows(COLUMNS)[:4] * np.array([[1e18], [1e20], [1e30], [1e36]], np.float32)
    for weights in (None, IMPORTANCES["lognormal"]):
        np.testing.assert_array_equal(format.encode(rows, weights), ggml_encode(format.ggml_type, rows, weights))


@each_in_gguf
def test_a_scale_that_rounding_makes_negative_encodes_to_the_oracles_bytes(format: BlockFormat):
    # In one group of this block nearly all importance sits on a zero: least squares is left with rounding errors.
    with np.load(GOLDEN.with_name("negative_scale.npz")) as block:
        row, weights = block["row"][None], block["importance"]
    np.testing.assert_array_equal(format.encode(row, weights), ggml_encode(format.ggml_type, row, weights))


def test_that_scale_is_negative():
    with np.load(GOLDEN.with_name("negative_scale.npz")) as block:
        row, weights = block["row"], sub_blocks(block["importance"], 16)
    x = sub_blocks(row, 16)
    with np.errstate(all="ignore"):
        scale, _, _ = make_qkx(x, importance_weights(x, weights, mean_square(row)), weighted_search(3))
    assert scale.min() < 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_many_random_blocks_encode_to_the_oracles_bytes(seed: int):
    rows, weights = random_rows(seed)
    for format in IN_GGUF:
        expected = ggml_encode(format.ggml_type, rows, weights)
        different = (format.encode(rows, weights) != expected).any(axis=1)
        assert not different.any(), f"{format.name}: rows {np.flatnonzero(different)} differ"


@each_format
def test_golden_bytes_are_unchanged(format: BlockFormat):
    with np.load(GOLDEN) as golden:
        rows, importance = golden["rows"], golden["importance"]
        np.testing.assert_array_equal(format.encode(rows), golden[f"{format.name} plain"])
        np.testing.assert_array_equal(format.encode(rows, importance), golden[f"{format.name} weighted"])


def test_golden_bytes_say_who_made_them():
    with np.load(GOLDEN) as golden:
        assert "xllamacpp" in str(golden["made_by"])
        assert "torch" in str(golden["made_by"])


@each_format
def test_importance_changes_the_bytes_only_where_the_format_says_so(format: BlockFormat):
    rows = hard_rows(COLUMNS)[:4]
    changed = (format.encode(rows, IMPORTANCES["lognormal"]) != format.encode(rows)).any()
    assert changed == format.uses_importance


@each_format
def test_ragged_rows_are_refused(format: BlockFormat):
    if format.block_size == 1:
        assert format.encode(np.ones((2, 5), np.float32)).shape == (2, 5 * format.block_bytes)
        return
    with pytest.raises(ShapeError, match=f"{format.name} needs rows in multiples of {format.block_size} weights, got"):
        format.encode(np.zeros((2, format.block_size + 16), np.float32))


@each_format
def test_importance_of_another_length_is_refused(format: BlockFormat):
    with pytest.raises(ShapeError, match=rf"{format.name}: importance has shape \(256,\), wanted \(512,\)"):
        format.encode(np.zeros((1, 512), np.float32), np.ones(256, np.float32))


@each_format
def test_a_row_is_encoded_the_same_alone_and_among_others(format: BlockFormat):
    rows, weights = hard_rows(COLUMNS), IMPORTANCES["lognormal"]
    alone = [format.encode(rows[i : i + 1], weights)[0] for i in range(len(rows))]
    np.testing.assert_array_equal(format.encode(rows, weights), np.array(alone))


@each_format
def test_strided_and_read_only_rows_give_the_same_bytes(format: BlockFormat):
    rows = hard_rows(COLUMNS)
    strided = np.asfortranarray(rows)
    strided.flags.writeable = False
    np.testing.assert_array_equal(format.encode(strided), format.encode(rows))


@each_format
def test_no_rows_at_all_are_no_bytes(format: BlockFormat):
    assert format.encode(np.zeros((0, COLUMNS), np.float32)).shape == (0, format.row_bytes(COLUMNS))
    assert format.decode(np.zeros((0, format.row_bytes(COLUMNS)), np.uint8)).shape == (0, COLUMNS)


@each_format
def test_bytes_that_are_no_whole_blocks_are_refused(format: BlockFormat):
    if format.block_bytes > 1:
        with pytest.raises(ShapeError, match=f"{format.name} rows are multiples of {format.block_bytes} bytes, got"):
            format.decode(np.zeros((2, format.block_bytes + 1), np.uint8))


LARGEST_ERROR = {
    "F32": 0,
    "F16": 2**-11,
    "BF16": 2**-8,
    "FP8_E4M3": 2**-4,
    "FP8_E5M2": 2**-3,
    "Q8_0": 0.5 / 127 * 1.1,
    "Q6_K": 0.04,
    "Q5_K": 0.1,
    "Q5_1": 1 / 31 * 1.05,
    "Q5_0": 1 / 16 * 1.05,
    "Q4_K": 0.2,
    "Q4_1": 1 / 15 * 1.05,
    "Q4_0": 1 / 8 * 1.05,
    "IQ4_NL": 0.2,
    "IQ4_XS": 0.2,
    "Q3_K": 0.4,
    "Q2_K": 0.6,
}
"""Largest error of one weight over the largest magnitude of its row: half a step by mathematics (a whole one where one
sign reaches less far than the other), or, where scales are searched, a bound that no found row passes."""


@each_format
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(row=arrays(np.float32, (1, 256), elements=st.floats(-400, 400, width=32)))
def test_a_round_trip_stays_within_the_formats_error(format: BlockFormat, row: NDArray[np.float32]):
    error = np.abs(format.decode(format.encode(row)) - row).max()
    # The second term is what a float16 scale or a float8 can no longer tell from zero.
    assert error <= LARGEST_ERROR[format.name] * np.abs(row).max() + (format.name != "F32") * 2e-3


def random_rows(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Rows (16, 1024) of one of six kinds and, for odd seeds, an importance with zeros."""
    rng = np.random.default_rng(seed)
    shape = (16, 1024)
    rows = rng.standard_t(rng.integers(2, 9), shape) * 10.0 ** rng.integers(-6, 3)
    kinds = (
        lambda: rows,
        lambda: rows * np.repeat(10.0 ** rng.integers(-12, 8, (16, 64)), 16, axis=1),
        lambda: np.round(rows * 8 / np.abs(rows).max()) * 0.25,
        lambda: rows * (rng.random(shape) < 0.2),
        lambda: np.abs(rows) * rng.choice([-1, 1]) + np.abs(rows).mean(),
        lambda: rows * 10.0 ** rng.integers(-38, 5, (16, 1)),
    )
    chosen = kinds[seed // 2 % len(kinds)]()
    weights = np.exp(2 * rng.standard_normal(1024)) * (rng.random(1024) < 0.8)
    # Subnormal numbers are meant.
    with np.errstate(under="ignore"):
        return chosen.astype(np.float32), weights.astype(np.float32) if seed % 2 else None
