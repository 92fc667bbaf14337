"""The affine formats' fast encoders write the oracle's bytes, whatever the rows, their number and their threads."""

import numpy as np
import pytest

from pennyweight import formats, kernels
from pennyweight.core.parallel import each_in_threads
from pennyweight.formats.base import BlockFormat
from tests.oracle import ggml_encode, hard_importances, hard_rows

pytestmark = pytest.mark.slow

COLUMNS = 768
AFFINE = tuple(formats.get(name) for name in ("Q2_K", "Q4_K", "Q5_K", "Q4_1", "Q5_1"))
IMPORTANCES = {"none": None, **hard_importances(COLUMNS)}

each_format = pytest.mark.parametrize("format", AFFINE, ids=lambda f: f.name)
weighted_or_not = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


def heavy_tailed(count: int, columns: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, (count, columns)).astype(np.float32)


def importance_of(columns: int, weighted: bool) -> np.ndarray | None:
    return hard_importances(columns)["lognormal"] if weighted else None


def assert_same_bytes(format: BlockFormat, rows: np.ndarray, importance: np.ndarray | None) -> None:
    expected = ggml_encode(format.ggml_type, rows, importance)
    np.testing.assert_array_equal(kernels.encode(format, rows, importance), expected)


@pytest.mark.parametrize("importance", IMPORTANCES)
@each_format
def test_hard_rows_give_the_oracles_bytes(format: BlockFormat, importance: str):
    assert_same_bytes(format, hard_rows(COLUMNS), IMPORTANCES[importance])


@weighted_or_not
@each_format
def test_many_heavy_tailed_rows_give_the_oracles_bytes(format: BlockFormat, weighted: bool):
    assert_same_bytes(format, heavy_tailed(64, 4096), importance_of(4096, weighted))


@weighted_or_not
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33])
@each_format
def test_tiles_that_are_not_full_give_the_oracles_bytes(format: BlockFormat, count: int, weighted: bool):
    for columns in (format.block_size, 3 * format.block_size):
        assert_same_bytes(format, heavy_tailed(count, columns), importance_of(columns, weighted))


@weighted_or_not
@each_format
def test_any_finite_float32_gives_the_oracles_bytes(format: BlockFormat, weighted: bool):
    bits = np.random.default_rng(5).integers(0, 1 << 32, (48, 512), np.uint32)
    rows = bits.view(np.float32)
    assert_same_bytes(format, np.where(np.isfinite(rows), rows, np.float32(0)), importance_of(512, weighted))


@weighted_or_not
@each_format
def test_rows_of_one_magnitude_each_give_the_oracles_bytes_from_the_smallest_to_the_largest(
    format: BlockFormat, weighted: bool
):
    sizes = np.float32(10) ** np.arange(-44, 38, dtype=np.float32)[:, None]
    with np.errstate(under="ignore"):  # subnormal numbers are meant
        rows = heavy_tailed(len(sizes), 512).clip(-3, 3) * sizes
    assert_same_bytes(format, rows, importance_of(512, weighted))


@weighted_or_not
@each_format
def test_slabs_of_rows_in_threads_change_nothing(format: BlockFormat, weighted: bool):
    rows, importance = heavy_tailed(70, 512), importance_of(512, weighted)
    out = np.zeros((70, format.row_bytes(512)), np.uint8)

    def encode(start: int) -> None:
        kernels.encode(format, rows[start : start + 7], importance, out[start : start + 7])

    each_in_threads(encode, range(0, 70, 7), 4)
    np.testing.assert_array_equal(out, kernels.encode(format, rows, importance))


@each_format
def test_read_only_and_strided_rows_are_taken_and_the_given_output_is_filled(format: BlockFormat):
    rows = heavy_tailed(20, 1024)[:, ::2]
    rows.flags.writeable = False
    out = np.zeros((20, format.row_bytes(512)), np.uint8)
    assert kernels.encode(format, rows, out=out) is out
    np.testing.assert_array_equal(out, ggml_encode(format.ggml_type, rows))
