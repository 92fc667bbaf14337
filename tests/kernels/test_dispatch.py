"""The frame around the kernels: what it refuses, what it falls back on, and that it costs nothing to import."""

import subprocess
import sys

import numpy as np
import pytest

from pennyweight import formats, kernels
from pennyweight.core.errors import ShapeError

Q4_K, F32 = formats.get("Q4_K"), formats.get("F32")


def rows(count: int, columns: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, columns)).astype(np.float32)


def test_importing_the_kernels_does_not_import_numba():
    code = "import sys, pennyweight.kernels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_compiled_name_is_a_format_that_is_written():
    assert all(formats.get_writable(name).name == name for name in kernels.COMPILED)


def test_a_row_of_broken_blocks_is_refused_with_both_numbers():
    with pytest.raises(ShapeError, match=r"Q4_K needs rows in multiples of 256 weights, got 100"):
        kernels.encode(Q4_K, rows(2, 100))
    with pytest.raises(ShapeError, match=r"Q4_K rows are multiples of 144 bytes, got 145"):
        kernels.decode(Q4_K, np.zeros((2, 145), np.uint8))


def test_importance_of_another_length_is_refused():
    with pytest.raises(ShapeError, match=r"importance has shape \(255,\), wanted \(256,\)"):
        kernels.encode(Q4_K, rows(2, 256), np.ones(255, np.float32))


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 143), np.uint8),
        np.empty((2, 144), np.int8),
        np.empty((2, 288), np.uint8)[:, ::2],
        read_only(np.empty((2, 144), np.uint8)),
    ],
    ids=["shape", "type", "strides", "read-only"],
)
def test_an_output_that_does_not_fit_is_refused(out: np.ndarray):
    with pytest.raises(ShapeError, match=r"wanted writable C-contiguous uint8 \(2, 144\)"):
        kernels.encode(Q4_K, rows(2, 256), out=out)


def test_encoded_rows_of_another_type_are_refused():
    with pytest.raises(TypeError, match="Q4_K: encoded rows are uint8, got int32"):
        kernels.decode(Q4_K, np.zeros((2, 144), np.int32))


def test_a_format_without_kernels_goes_by_its_definition():
    assert F32.name not in kernels.COMPILED
    weights = rows(3, 64)
    data = kernels.encode(F32, weights)
    np.testing.assert_array_equal(data, F32.encode(weights))
    np.testing.assert_array_equal(kernels.decode(F32, data), F32.decode(data))


def test_no_rows_give_no_bytes():
    assert kernels.encode(Q4_K, rows(0, 256)).shape == (0, 144)
    assert kernels.decode(Q4_K, np.zeros((0, 144), np.uint8)).shape == (0, 256)


def test_a_change_in_any_source_gives_the_compiled_kernels_another_place(monkeypatch, tmp_path):
    from pennyweight.kernels import compile as compiling

    for folder in ("kernels", "formats"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "kernels" / "compile.py"))
    compiling.cache_directory.cache_clear()
    before = compiling.cache_directory()
    (tmp_path / "formats" / "a.py").write_text("x = 2\n")
    compiling.cache_directory.cache_clear()
    assert compiling.cache_directory() != before
    compiling.cache_directory.cache_clear()
