"""Importance matrices: both of llama.cpp's file formats, and the files of strangers."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.checkpoints.imatrix import Imatrix, ImatrixEntry, read_imatrix, write_imatrix
from pennyweight.core.errors import BadRequest, FormatError, PennyweightError


def _imatrix() -> Imatrix:
    rng = np.random.default_rng(2)
    dense = ImatrixEntry(sums=rng.random((1, 64), np.float32), counts=np.array([1024], np.float32))
    experts = ImatrixEntry(sums=rng.random((4, 32), np.float32), counts=np.array([700, 0, 12, 312], np.float32))
    return Imatrix(
        entries={"blk.0.attn_q.weight": dense, "blk.0.ffn_up_exps.weight": experts},
        datasets=("text.txt",),
        chunk_count=2,
        chunk_size=512,
        source="made here",
    )


def _tensor(name: str, shape: tuple[int, ...]) -> LazyTensor:
    def unread(start: int, stop: int) -> np.ndarray:
        raise AssertionError("only the shape is wanted")

    return LazyTensor(name=name, shape=shape, format="F16", nbytes=0, read_rows=unread, raw_rows=unread)


def test_gguf_files_come_back_as_they_were(tmp_path: Path) -> None:
    wanted = _imatrix()
    write_imatrix(wanted, tmp_path / "i.gguf")
    found = read_imatrix(tmp_path / "i.gguf")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("text.txt",), 2, 512)
    assert found.entries.keys() == wanted.entries.keys()
    for name, entry in found.entries.items():
        assert np.array_equal(entry.sums, wanted.entries[name].sums)
        assert np.array_equal(entry.counts, wanted.entries[name].counts)


def test_the_gguf_package_reads_what_llama_quantize_asks_for(tmp_path: Path) -> None:
    write_imatrix(_imatrix(), tmp_path / "i.gguf")
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    assert {"general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"} <= set(reader.fields)
    shapes = {t.name: tuple(t.shape.tolist()) for t in reader.tensors}
    assert shapes["blk.0.ffn_up_exps.weight.in_sum2"] == (32, 4)
    assert shapes["blk.0.ffn_up_exps.weight.counts"] == (1, 4)


def test_the_older_format_keeps_the_means(tmp_path: Path) -> None:
    wanted = _imatrix()
    write_imatrix(wanted, tmp_path / "i.dat")
    found = read_imatrix(tmp_path / "i.dat")
    for name, entry in wanted.entries.items():
        np.testing.assert_allclose(found.entries[name].mean().ravel(), entry.mean().ravel(), rtol=1e-6)
    assert found.datasets == ("text.txt",)


def test_the_older_format_is_laid_out_as_llama_imatrix_writes_it(tmp_path: Path) -> None:
    values = struct.pack("<3f", 3.0, 6.0, 9.0)
    data = struct.pack("<ii", 1, 3) + b"abc" + struct.pack("<ii", 3, 3) + values + struct.pack("<ii", 3, 4) + b"text"
    (tmp_path / "i.dat").write_bytes(data)
    found = read_imatrix(tmp_path / "i.dat")
    assert found.entries["abc"].mean().tolist() == [[1.0, 2.0, 3.0]]
    assert (found.chunk_count, found.datasets) == (3, ("text",))


def test_an_expert_that_saw_nothing_is_weighted_evenly() -> None:
    mean = _imatrix().entries["blk.0.ffn_up_exps.weight"].mean()
    assert (mean[1] == 1).all()


def test_importance_has_one_row_for_each_expert_and_refuses_another_model() -> None:
    imatrix = _imatrix()
    experts = imatrix.importance(_tensor("blk.0.ffn_up_exps.weight", (4, 16, 32)))
    assert experts is not None
    assert experts.shape == (4, 32)
    assert imatrix.importance(_tensor("blk.9.attn_q.weight", (8, 64))) is None
    with pytest.raises(BadRequest, match="another model"):
        imatrix.importance(_tensor("blk.0.attn_q.weight", (64, 128)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_sums_that_cannot_be_are_refused(bad: float, tmp_path: Path) -> None:
    imatrix = _imatrix()
    imatrix.entries["blk.0.attn_q.weight"].sums[0, 3] = bad
    write_imatrix(imatrix, tmp_path / "i.gguf")
    with pytest.raises(FormatError, match=r"blk\.0\.attn_q\.weight"):
        read_imatrix(tmp_path / "i.gguf")


def test_cut_or_foreign_files_are_one_clear_line(tmp_path: Path) -> None:
    write_imatrix(_imatrix(), tmp_path / "i.dat")
    whole = (tmp_path / "i.dat").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        if length == len(whole) - 8 - len("text.txt"):
            read_imatrix(tmp_path / "cut")  # the oldest files end before the chunk count: this cut is a whole file
            continue
        with pytest.raises(PennyweightError) as caught:
            read_imatrix(tmp_path / "cut")
        assert "\n" not in str(caught.value)
    (tmp_path / "huge").write_bytes(struct.pack("<ii", 1, 1 << 30))
    with pytest.raises(FormatError, match="length of a name"):
        read_imatrix(tmp_path / "huge")


def test_a_model_is_not_taken_for_an_importance_matrix(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FormatError, match="no importance matrix"):
        read_imatrix(tmp_path / "model.gguf")
