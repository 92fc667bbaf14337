"""SpQR without padding: bits where the layout says, equal codes back, exact sizes, and hostile files refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pennyweight.checkpoints import layouts, spqr_dense
from pennyweight.checkpoints.calibrated import packed_modules
from pennyweight.checkpoints.calibrated_writer import open_writer
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.formats.spqr_codes import SpQRCodes, dense_bits
from tests.checkpoints.tiny_huggingface import write_huggingface

UP = "model.layers.0.mlp.up_proj"


def some_codes(rows: int = 48, columns: int = 64, group: int = 32, outliers: int = 9) -> SpQRCodes:
    """Random codes; outliers anywhere, some rows without any."""
    rng = np.random.default_rng(rows + columns + outliers)
    places = np.sort(rng.permutation(rows * columns)[:outliers])
    groups = columns // group
    second = rng.uniform([0.01, -1, 0.1, -1], [0.02, 0, 0.9, 1], (rows // 16, groups, 4))
    return SpQRCodes(
        codes=rng.integers(0, 8, (rows, columns), np.uint8),
        scale_codes=rng.integers(0, 8, (rows, groups), np.uint8),
        zero_codes=rng.integers(0, 8, (rows, groups), np.uint8),
        second=second.astype(np.float16).astype(np.float32),
        outlier_offsets=np.searchsorted(places // columns, np.arange(rows + 1)),
        outlier_columns=(places % columns).astype(np.int32),
        outlier_values=rng.standard_normal(outliers).astype(np.float16).astype(np.float32),
    )


def bits(words: np.ndarray) -> str:
    """The stream of one row, first bit first."""
    return "".join(format(int(word), "032b")[::-1] for word in words.view(np.uint32))


def number(stream: str, index: int) -> int:
    return int(stream[3 * index : 3 * index + 3][::-1], 2)


def test_every_number_stands_where_the_layout_says() -> None:
    codes = some_codes()
    packed = {tensor.suffix: tensor for tensor in spqr_dense.pack(codes)}
    rows = [bits(row) for row in packed["codes"].data.view(np.int32)]
    pairs = [bits(row) for row in packed["group_codes"].data.view(np.int32)]
    second = packed["second"].data.view(np.float16).reshape(3, 2, 4).astype(np.float32)
    weights = np.empty((48, 64), np.float32)
    for i in range(48):
        for j in range(64):
            tile, row, group = i // 16, i % 16, j // 32
            scale_code, zero_code = (number(pairs[tile], 2 * (2 * row + group) + k) for k in (0, 1))
            ss, sz, zs, zz = second[tile, group]
            scale, zero = ss * (np.float32(scale_code) - sz), zs * (np.float32(zero_code) - zz)
            weights[i, j] = scale * (np.float32(number(rows[i], j)) - zero)
    np.testing.assert_array_equal(weights, codes.decode_dense())
    counts = packed["outlier_counts"].data.view(np.uint16)[0]
    places = np.repeat(np.arange(48), counts), packed["outlier_columns"].data.view(np.uint16)[0]
    weights[places] = packed["outlier_values"].data.view(np.float16)[0]
    np.testing.assert_array_equal(weights, codes.decode())


@pytest.mark.parametrize("group", [16, 32])
@pytest.mark.parametrize("outliers", [0, 1, 50])
def test_a_directory_gives_back_the_very_codes_and_counts_every_bit(group: int, outliers: int, tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    shapes = {t.name: t.shape for t in source.tensors if t.name.startswith("blk.") and len(t.shape) == 2}
    fitting = {name: shape for name, shape in shapes.items() if shape[0] % 16 == 0 and shape[1] % group == 0}
    made = {name: some_codes(*shape, group=group, outliers=outliers) for name, shape in fitting.items()}
    assert len(made) > 8
    with open_writer(layouts.get("spqr-dense"), tmp_path / "out", source) as writer:
        for name, codes in made.items():
            writer.write(name, codes, stored_order=True)
    read = {t.name: t for t in open_huggingface(tmp_path / "out").tensors}
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert (said["quant_method"], said["bits"], said["group_size"]) == ("pennyweight-spqr", 3, group)
    modules = packed_modules(open_safetensors(tmp_path / "out").tensors, said)
    assert len(modules) == len(made)
    for name, codes in made.items():
        tensor = read[name]
        rows, columns = tensor.shape
        assert 8 * tensor.nbytes == dense_bits(rows, columns, group, outliers)
        assert tensor.format == ("SPQR3" if group == 16 else f"SPQR3_G{group}")
        np.testing.assert_array_equal(tensor.read_rows(0, rows), codes.decode())
        np.testing.assert_array_equal(tensor.read_rows(5, rows - 3), codes.decode()[5 : rows - 3])
    for module in modules:
        again = module.codes(0, module.shape[0])
        assert isinstance(again, SpQRCodes)
        packed = spqr_dense.pack(again)
        for tensor, part in zip(module.tensors, packed, strict=True):
            assert part.data.tobytes() == b"".join(tensor.rows(i, i + 1).tobytes() for i in range(tensor.row_count))


def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    for layout, codes, why in (
        ("spqr", some_codes(48, 32, 32), "groups of 16, not SPQR3_G32"),
        ("spqr-dense", some_codes(48, 32, 8), "groups of 16, 32, 64, 128"),
    ):
        with pytest.raises(BadRequest, match=why), open_writer(layouts.get(layout), tmp_path / "out", source) as writer:
            writer.write("blk.0.ffn_up.weight", codes, stored_order=True)


@pytest.mark.parametrize(
    ("suffix", "at", "value", "message"),
    [
        ("outlier_counts", 3, 7, "add up to"),
        ("outlier_counts", 3, -1, "add up to"),
        ("outlier_columns", 0, 32, "do not rise within a row, below 32"),
        ("outlier_columns", 0, -1, "do not rise within a row, below 32"),
    ],
)
def test_outliers_out_of_place_are_refused(suffix: str, at: int, value: int, message: str, tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    with open_writer(layouts.get("spqr-dense"), tmp_path / "out", source) as writer:
        writer.write("blk.0.ffn_up.weight", some_codes(48, 32), stored_order=True)
    path = tmp_path / "out" / "model.safetensors"
    stored = load_file(path)
    stored[f"{UP}.{suffix}"][at] = value
    save_file(stored, path)
    tensor = next(t for t in open_huggingface(tmp_path / "out").tensors if t.name == "blk.0.ffn_up.weight")
    with pytest.raises(FormatError, match=message):
        tensor.read_rows(0, tensor.rows)


def test_shapes_and_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    source = open_huggingface(write_huggingface(tmp_path / "source", "qwen3"))
    with open_writer(layouts.get("spqr-dense"), tmp_path / "out", source) as writer:
        writer.write("blk.0.ffn_up.weight", some_codes(48, 32), stored_order=True)
    stored = open_safetensors(tmp_path / "out").tensors
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    with pytest.raises(FormatError, match="the rest of its module implies"):
        packed_modules(stored, said | {"group_size": 16})
    with pytest.raises(FormatError, match="the rest of its module implies"):
        packed_modules(stored, said | {"group_size": 64})
    with pytest.raises(UnsupportedModel, match="group_size is 7"):
        packed_modules(stored, said | {"group_size": 7})
    with pytest.raises(FormatError, match="has no second"):
        packed_modules({name: t for name, t in stored.items() if not name.endswith("second")}, said)
