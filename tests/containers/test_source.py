"""Headers are read by a few ranges, wherever the bytes are; tensors by position, from any thread, without a mapping."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from pennyweight import formats
from pennyweight.containers import gguf_header, safetensors_header
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.tensor import TensorInfo
from tests.containers.raw_gguf import ARRAY, RawGGUF, key, strings
from tests.containers.test_gguf_writer import contents, write


@dataclass
class Memory:
    """A file on a server, as far as a header can tell: bytes that are asked for by range."""

    content: bytes
    name: str = "https://example.org/model"
    asked: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.content)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.asked.append(len(buffer))
        buffer[:] = self.content[offset : offset + len(buffer)]


def test_a_gguf_header_comes_by_a_few_ranges_and_the_data_stay_away() -> None:
    words = ["token" * 40] * 20_000  # 4 MB
    raw = RawGGUF(keys=[key("tokenizer.ggml.tokens", ARRAY, strings(*words))])
    source = Memory(raw.bytes() + bytes(64 << 20))
    header = gguf_header.read_header(source)
    assert [tensor.name for tensor in header.tensors] == ["a", "b"]
    assert list(header.metadata["tokenizer.ggml.tokens"].value) == words  # type: ignore[arg-type]
    assert len(source.asked) <= 4
    assert sum(source.asked) < 2 * len(raw.bytes())


def test_a_safetensors_header_comes_by_two_ranges() -> None:
    source = Memory(save({"w": np.zeros((1000, 1000), np.float32)}))
    (tensor,) = safetensors_header.read_header(source).tensors
    assert tensor.shape == (1000, 1000)
    assert len(source.asked) == 2
    assert sum(source.asked) < 200


def test_threads_that_read_one_tensor_do_not_disturb_each_other(tmp_path: Path) -> None:
    info = TensorInfo(name="w", shape=(1000, 64), format=formats.F32)
    data = contents((info,))
    write(tmp_path / "a.gguf", data, (info,))
    tensor = open_gguf(tmp_path / "a.gguf").tensors["w"]
    wrong: list[int] = []

    def read(seed: int) -> None:
        for row in np.random.default_rng(seed).integers(0, 1000, 300).tolist():
            if not np.array_equal(tensor.rows(row, row + 1), data["w"][row : row + 1]):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_are_read_into_the_callers_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(RawGGUF().bytes())
    tensor = open_gguf(path).tensors["a"]
    out = np.zeros((2, 16), np.uint8)
    assert tensor.rows(0, 2, out) is out
    assert out.tobytes() == bytes(range(32))
    with pytest.raises(ValueError, match="wanted uint8"):
        tensor.rows(0, 1, out)
    with pytest.raises(IndexError, match="2 rows"):
        tensor.rows(1, 3)


def test_a_file_closes_when_its_last_tensor_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(RawGGUF().bytes())

    def descriptors() -> int:
        return sum(os.path.realpath(f"/dev/fd/{fd}") == str(path.resolve()) for fd in range(100))

    tensor = open_gguf(path).tensors["a"]
    assert descriptors() == 1
    assert tensor.rows(0, 1).shape == (1, 16)
    del tensor
    assert descriptors() == 0
