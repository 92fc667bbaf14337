"""The symmetric and codebook formats' fast encoders write the oracle's bytes, whatever the rows and their number."""

import numpy as np
import pytest

from pennyweight import formats, kernels
from pennyweight.core.parallel import each_in_threads
from pennyweight.formats.base import BlockFormat
from tests.oracle import ggml_encode, hard_importances, hard_rows

pytestmark = pytest.mark.slow

COLUMNS = 768
FORMATS = tuple(
    formats.get(name) for name in ("Q3_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q4_0", "Q5_0", "Q8_0", "F16", "BF16")
)
FLOATS = tuple(formats.get(name) for name in ("F16", "BF16", "FP8_E4M3", "FP8_E5M2"))
WITH_IMPORTANCE = tuple(format for format in FORMATS if format.uses_importance)
IMPORTANCES = hard_importances(COLUMNS)
CASES = [(format, weighted) for format in FORMATS for weighted in (False, True)[: 1 + format.uses_importance]]

each_format = pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
each_float = pytest.mark.parametrize("format", FLOATS, ids=lambda f: f.name)
each_case = pytest.mark.parametrize(
    ("format", "weighted"), CASES, ids=[f"{f.name} {'weighted' if weighted else 'plain'}" for f, weighted in CASES]
)


def heavy_tailed(count: int, columns: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, (count, columns)).astype(np.float32)


def importance_of(columns: int, weighted: bool) -> np.ndarray | None:
    return hard_importances(columns)["lognormal"] if weighted else None


def assert_same_bytes(format: BlockFormat, rows: np.ndarray, importance: np.ndarray | None = None) -> None:
    expected = ggml_encode(format.ggml_type, rows, importance)
    np.testing.assert_array_equal(kernels.encode(format, rows, importance), expected)


def test_every_format_but_f32_has_a_kernel_of_its_own():
    assert set(kernels.COMPILED) == {format.name for format in formats.ALL} - {"F32"}


@each_format
def test_hard_rows_give_the_oracles_bytes(format: BlockFormat):
    assert_same_bytes(format, hard_rows(COLUMNS))


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("format", WITH_IMPORTANCE, ids=lambda f: f.name)
def test_hard_rows_with_hard_importance_give_the_oracles_bytes(format: BlockFormat, importance: str):
    assert_same_bytes(format, hard_rows(COLUMNS), IMPORTANCES[importance])


@each_case
def test_many_heavy_tailed_rows_give_the_oracles_bytes(format: BlockFormat, weighted: bool):
    assert_same_bytes(format, heavy_tailed(32, 4096), importance_of(4096, weighted))


@pytest.mark.parametrize("count", [1, 2, 15, 17])
@each_case
def test_tiles_that_are_not_full_give_the_oracles_bytes(format: BlockFormat, weighted: bool, count: int):
    for blocks in (1, 3, 17):
        columns = blocks * format.block_size
        assert_same_bytes(format, heavy_tailed(count, columns), importance_of(columns, weighted))


@each_case
def test_any_finite_float32_gives_the_oracles_bytes(format: BlockFormat, weighted: bool):
    bits = np.random.default_rng(5).integers(0, 1 << 32, (48, 512), np.uint32)
    rows = bits.view(np.float32)
    assert_same_bytes(format, np.where(np.isfinite(rows), rows, np.float32(0)), importance_of(512, weighted))


@each_case
def test_rows_of_one_magnitude_each_give_the_oracles_bytes_from_the_smallest_to_the_largest(
    format: BlockFormat, weighted: bool
):
    sizes = np.float32(10) ** np.arange(-44, 38, dtype=np.float32)[:, None]
    with np.errstate(under="ignore"):  # subnormal numbers are meant
        rows = heavy_tailed(len(sizes), 512).clip(-3, 3) * sizes
    assert_same_bytes(format, rows, importance_of(512, weighted))


@each_case
def test_slabs_of_rows_in_threads_change_nothing(format: BlockFormat, weighted: bool):
    rows, importance = heavy_tailed(70, 512), importance_of(512, weighted)
    out = np.zeros((70, format.row_bytes(512)), np.uint8)

    def encode(start: int) -> None:
        kernels.encode(format, rows[start : start + 7], importance, out[start : start + 7])

    each_in_threads(encode, range(0, 70, 7), 4)
    np.testing.assert_array_equal(out, kernels.encode(format, rows, importance))


@each_float
def test_a_row_of_odd_length_is_rounded_to_its_last_weight(format: BlockFormat):
    for columns in (1, 3, 15, 16, 17, 33):
        rows = heavy_tailed(3, columns)
        np.testing.assert_array_equal(kernels.encode(format, rows), format.encode(rows))


@each_float
def test_any_bits_but_nan_are_rounded_as_the_definition_rounds_them(format: BlockFormat):
    rows = np.random.default_rng(6).integers(0, 1 << 32, (256, 1024), np.uint32).view(np.float32)
    rows = np.where(np.isnan(rows), np.float32(np.inf), rows)
    rows[0, 0] = -np.inf
    np.testing.assert_array_equal(kernels.encode(format, rows), format.encode(rows))


@each_float
def test_every_number_of_a_format_and_the_ties_between_are_rounded_as_the_definition_rounds_them(format: BlockFormat):
    bits = 8 * format.block_bytes
    numbers = format.decode(np.arange(1 << bits, dtype=f"<u{bits // 8}").view(np.uint8).reshape(16, -1)).reshape(-1)
    numbers = np.sort(numbers[np.isfinite(numbers)])
    ties = (numbers[1:].astype(np.float64) + numbers[:-1]) / 2
    ties = ties.astype(np.float32)  # exact: one more bit of fraction than the format's
    rows = np.concatenate([numbers, ties, np.nextafter(ties, -np.inf), np.nextafter(ties, np.inf)])[None]
    np.testing.assert_array_equal(kernels.encode(format, rows), format.encode(rows))


@pytest.mark.parametrize("name", ["IQ4_NL", "IQ4_XS"])
def test_weights_at_and_around_the_midpoints_of_the_codebook_give_the_oracles_bytes(name: str):
    # The largest weight is -127 times the scale that fits everything exactly, so that the rest meet the midpoints.
    values = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
    midpoints = (values[1:] + values[:-1]) / 2
    around = np.concatenate([np.nextafter(midpoints, -np.inf), midpoints, np.nextafter(midpoints, np.inf)])
    rng = np.random.default_rng(9)
    blocks = rng.choice(np.concatenate([values, around]).astype(np.float32), (512, 32))
    blocks[:, 0] = -127
    rows = blocks.reshape(-1, 256) * np.float32(2) ** rng.integers(-6, 3, (64, 1)).astype(np.float32)
    assert_same_bytes(formats.get(name), rows)
    assert_same_bytes(formats.get(name), rows, np.where(rng.random(256) < 0.5, 0, 1).astype(np.float32))
