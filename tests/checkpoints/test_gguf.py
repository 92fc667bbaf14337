"""A GGUF as a checkpoint: decoded rows are what llama.cpp reads, raw rows are the file's own, whatever the slabs."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.core.errors import BadRequest, FormatError
from tests.containers.raw_gguf import RawGGUF, tensor

SHAPES = {"F32": (3, 7), "F16": (5, 33), "BF16": (2, 3, 8), "Q8_0": (4, 64), "Q4_0": (2, 2, 32), "Q5_1": (3, 32)}


def write_by_the_gguf_package(path: Path) -> dict[str, np.ndarray]:
    """A file of somebody else's making; returns what it should decode to."""
    rng = np.random.default_rng(5)
    writer = GGUFWriter(path, "llama")
    decoded = {}
    for name, shape in SHAPES.items():
        kind = GGMLQuantizationType[name]
        stored = gguf.quantize(rng.standard_normal(shape).astype(np.float32), kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        decoded[name] = gguf.dequantize(stored, kind).reshape(shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return decoded


@pytest.mark.slow  # compiles decoders
def test_rows_decode_to_what_the_gguf_package_decodes(tmp_path: Path) -> None:
    decoded = write_by_the_gguf_package(tmp_path / "a.gguf")
    checkpoint = open_gguf_checkpoint(tmp_path / "a.gguf")
    assert [(t.name, t.format, t.shape) for t in checkpoint.tensors] == [(n, n, s) for n, s in SHAPES.items()]
    assert checkpoint.metadata["general.architecture"].value == "llama"
    assert checkpoint.files == (tmp_path / "a.gguf",)
    for lazy in checkpoint.tensors:
        expected = decoded[lazy.name].reshape(lazy.rows, lazy.columns)
        assert np.array_equal(lazy.read_rows(0, lazy.rows), expected)
        assert np.array_equal(np.concatenate([lazy.read_rows(r, r + 1) for r in range(lazy.rows)]), expected)
        assert lazy.read_rows(1, 1).shape == (0, lazy.columns)


def test_raw_rows_are_the_files_bytes(tmp_path: Path) -> None:
    write_by_the_gguf_package(tmp_path / "a.gguf")
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    theirs = {t.name: t.data.tobytes() for t in reader.tensors}
    for lazy in open_gguf_checkpoint(tmp_path / "a.gguf").tensors:
        assert lazy.raw_rows(0, lazy.rows).tobytes() == theirs[lazy.name]


def test_a_tensor_of_an_unknown_type_opens_and_says_so_when_read(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(RawGGUF(tensors=[tensor("new", (7, 3), 57)]).bytes())
    (lazy,) = open_gguf_checkpoint(path).tensors
    assert lazy.format == "type 57"
    with pytest.raises(FormatError, match="type 57, which this version does not know"):
        lazy.read_rows(0, 1)


def test_a_missing_file_is_a_bad_request(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"cannot open .*no\.gguf: No such file"):
        open_gguf_checkpoint(tmp_path / "no.gguf")
