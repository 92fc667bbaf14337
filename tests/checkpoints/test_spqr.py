"""SpQR's layout: bits where its source says, outliers that add up, and hostile files refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pennyweight.checkpoints import layouts, spqr
from pennyweight.checkpoints.calibrated_writer import open_writer
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.formats.spqr_codes import SpQRCodes
from tests.checkpoints.nearest_codes import spqr as random_spqr
from tests.checkpoints.test_calibrated import written
from tests.checkpoints.tiny_huggingface import write_huggingface

UP = "model.layers.0.mlp.up_proj"


def some_codes() -> tuple[np.ndarray, SpQRCodes]:
    rng = np.random.default_rng(7)
    weight = rng.standard_normal((48, 32)).astype(np.float32)
    return weight, random_spqr(weight, rng)


def by_definition(words: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The dense weights, one word after the other, each field taken out where the layout's source puts it."""
    dense = np.empty((rows, columns), np.float32)
    for number, word in enumerate(int(w) for w in words.view(np.uint64)):
        tile, row = divmod(number, 16)
        tile_row, tile_column = divmod(tile, columns // 16)
        bytes_ = bytes(int(words.view(np.uint64)[tile * 16 + 2 * k]) >> 54 & 255 for k in range(8))
        ss, zs, sz, zz = np.frombuffer(bytes_, "<f2").astype(np.float32)
        scale = ss * (np.float32(word & 7) - sz)
        zero = zs * (np.float32(word >> 3 & 7) - zz)
        for j in range(16):
            dense[tile_row * 16 + row, tile_column * 16 + j] = scale * (np.float32(word >> (6 + 3 * j) & 7) - zero)
    return dense


def test_the_words_hold_each_field_where_the_kernel_reads_it() -> None:
    _, codes = some_codes()
    packed = {tensor.suffix: tensor for tensor in spqr.pack(codes)}
    words = packed["dense_weights"].data.view(np.int64).reshape(-1)
    assert packed["dense_weights"].shape == (48 * 32 // 16,)
    np.testing.assert_array_equal(by_definition(words, 48, 32), codes.decode_dense())


def test_the_kernels_sum_of_dense_and_sparse_is_the_outlier() -> None:
    weight, codes = some_codes()
    packed = {tensor.suffix: tensor.data for tensor in spqr.pack(codes)}
    values, offsets = packed["col_vals"].view(np.uint32)[0], packed["row_offsets"].view(np.int32)[0]
    total = codes.decode_dense()
    for row in range(48):
        for word in values[offsets[row] : offsets[row + 1]]:
            total[row, word & 0xFFFF] += np.array([word >> 16], np.uint16).view(np.float16)[0]
            assert abs(total[row, word & 0xFFFF] - weight[row, word & 0xFFFF]) < 2e-3  # float16 of a difference
    np.testing.assert_allclose(total, codes.decode(), atol=2e-3)


def test_a_directory_reads_back_to_float16_of_its_outliers(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    made = written(source, tmp_path / "out", "spqr")
    for tensor in open_huggingface(tmp_path / "out").tensors:
        if tensor.name in made:
            (codes,) = made[tensor.name]
            found = tensor.read_rows(0, tensor.rows)
            np.testing.assert_allclose(found, codes.decode(), atol=5e-3)
            assert tensor.format == "SPQR3"
            np.testing.assert_array_equal(tensor.read_rows(5, 9), found[5:9])


def test_rows_that_share_numbers_are_not_reordered(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "llama"))
    tensor = next(t for t in source.tensors if t.name == "blk.0.attn_q.weight")
    codes = random_spqr(tensor.read_rows(0, tensor.rows), np.random.default_rng(1))
    with open_writer(layouts.get("spqr"), tmp_path / "out", source) as writer:
        with pytest.raises(BadRequest, match="coded in transformers' order"):
            writer.write("blk.0.attn_q.weight", codes)
        writer.write("blk.1.attn_q.weight", codes, stored_order=True)
    # Row 0 of a head of 8 is row 0 in either order; row 1 of llama.cpp's is row 4 of transformers'.
    found = {t.name: t for t in open_huggingface(tmp_path / "out").tensors}["blk.1.attn_q.weight"].read_rows(0, 2)
    np.testing.assert_allclose(found, codes.decode()[[0, 4]], atol=5e-3)


def test_outliers_out_of_place_are_refused(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    written(source, tmp_path / "out", "spqr")
    path = tmp_path / "out" / "model.safetensors"
    whole = load_file(path)
    for suffix, at, value, error, message in (
        ("row_offsets", 5, 10**9, FormatError, "do not rise"),
        ("row_offsets", 5, -1, FormatError, "do not rise"),
        ("col_vals", 0, 0x3C00_FFFF, FormatError, "column 65535 of 32"),
        ("in_perm", 0, 0, UnsupportedModel, "reordered"),
    ):
        stored = {name: array.copy() for name, array in whole.items()}
        stored[f"{UP}.{suffix}"][at] = value
        save_file(stored, path)
        tensor = next(t for t in open_huggingface(tmp_path / "out").tensors if t.name == "blk.0.ffn_up.weight")
        with pytest.raises(error, match=message):
            tensor.read_rows(0, tensor.rows)
