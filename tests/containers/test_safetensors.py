"""Safetensors: what the reference library writes we read, and the reverse; every lie in a header gets one line."""

import json
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from pennyweight import formats
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.containers.safetensors_writer import SafetensorsWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import BadRequest, FormatError, OutputError

ARRAYS = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "experts": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "mask": np.array([True, False, True]),
    "codes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "häuser.weight": np.array([1.5], np.float64),
}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "a.safetensors", metadata={"format": "np"})
    file = open_safetensors(tmp_path / "a.safetensors")
    assert set(file.tensors) == set(ARRAYS)
    assert file.metadata == {"format": "np"}
    assert file.nbytes == (tmp_path / "a.safetensors").stat().st_size
    for name, array in ARRAYS.items():
        tensor = file.tensors[name]
        assert tensor.shape == array.shape
        assert tensor.rows(0, tensor.row_count).tobytes() == array.tobytes()
    assert file.tensors["experts"].rows(4, 6).tobytes() == ARRAYS["experts"].reshape(6, 4)[4:6].tobytes()


@pytest.mark.parametrize(
    ("dtype", "format"), [("BF16", "BF16"), ("F8_E4M3", "FP8_E4M3"), ("F8_E5M2", "FP8_E5M2"), ("F32", "F32")]
)
def test_formats_have_our_names(dtype: str, format: str, tmp_path: Path) -> None:
    width = formats.get(format).row_bytes(3)
    write_raw(tmp_path / "a.safetensors", {"t": entry(dtype, [2, 3], 0, 2 * width)}, bytes(range(2 * width)))
    tensor = open_safetensors(tmp_path / "a.safetensors").tensors["t"]
    assert (tensor.format, tensor.row_bytes) == (format, width)
    assert tensor.rows(1, 2).tobytes() == bytes(range(width, 2 * width))


def infos(arrays: dict[str, np.ndarray]) -> list[TensorInfo]:
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}
    return [TensorInfo(name=n, shape=a.shape, format=formats.get(names[a.dtype.name])) for n, a in arrays.items()]


def test_our_file_is_byte_for_byte_the_librarys(tmp_path: Path) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name not in ("mask", "codes")}
    with SafetensorsWriter(tmp_path / "ours", infos(arrays), metadata={"format": "np"}) as writer:
        for name, array in arrays.items():
            rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
            for row in reversed(range(len(rows))):
                writer.write_rows(name, row, rows[row : row + 1].view(np.uint8))
    save_file(arrays, tmp_path / "theirs", metadata={"format": "np"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert load_file(tmp_path / "ours")["w"].tolist() == arrays["w"].tolist()


def test_the_writer_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="Q4_K, which safetensors cannot hold"):
        SafetensorsWriter(tmp_path / "a", [TensorInfo(name="t", shape=(1, 256), format=formats.Q4_K)])
    one = TensorInfo(name="t", shape=(4,), format=formats.F32)
    with pytest.raises(FormatError, match="two tensors are named t"):
        SafetensorsWriter(tmp_path / "a", [one, one])
    save_file(ARRAYS, tmp_path / "in")
    with pytest.raises(OutputError, match="is the input"):
        SafetensorsWriter(tmp_path / "in", [one], sources=[tmp_path / "in"])


def entry(dtype: Any, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write_raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(pack("<Q", len(raw) if length is None else length) + raw + data)


SOUND = entry("F32", [2], 0, 8)
LIES: dict[str, tuple[Any, bytes, str]] = {
    "not JSON": (b"{]", b"", "not JSON"),
    "not UTF-8": (b'{"\xff": 1}', b"", "not JSON"),
    "a list": ([], b"", "not a JSON object"),
    "endless nesting": (b"[" * 200_000, b"", "not JSON"),
    "endless digits": (b'{"a":' + b"9" * 5000 + b"}", b"", "not JSON"),
    "a name twice": (b'{"a":{},"a":{}}', b"", "'a' stands in the header twice"),
    "a field twice": (b'{"a":{"dtype":"F32","dtype":"F16"}}', b"", "'dtype' stands in the header twice"),
    "a name that is no text": ({"\x1b[2J": SOUND}, bytes(8), "impossible name"),
    "no name": ({"": SOUND}, bytes(8), "impossible name"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", "not a map of strings"),
    "an entry that is no object": ({"a": 7}, b"", "no dtype"),
    "a dtype that is no text": ({"a": entry(7, [2], 0, 8)}, bytes(8), "no dtype"),
    "a shape that is no list": ({"a": entry("F32", "2", 0, 8)}, bytes(8), "natural numbers"),
    "a negative axis": ({"a": entry("F32", [-2], 0, 8)}, bytes(8), "natural numbers"),
    "an axis of 2^64": ({"a": entry("F32", [1 << 64], 0, 8)}, bytes(8), "natural numbers"),
    "an axis that is true": ({"a": entry("F32", [True], 0, 4)}, bytes(4), "natural numbers"),
    "an axis of 2.0": ({"a": entry("F32", [2.0], 0, 8)}, bytes(8), "natural numbers"),
    "offsets backwards": ({"a": entry("F32", [2], 8, 0)}, bytes(8), "natural numbers"),
    "more bytes than the shape": ({"a": entry("F32", [2], 0, 12)}, bytes(12), "takes 64 bits, not 12 bytes"),
    "rows that end within a byte": ({"a": entry("F4", [2, 3], 0, 3)}, bytes(3), "takes 24 bits"),
    "an overlap": ({"a": SOUND, "b": entry("F32", [2], 4, 12)}, bytes(12), "overlaps"),
    "a hole": ({"a": SOUND, "b": entry("F32", [2], 16, 24)}, bytes(24), "leaves a hole"),
    "a hole at the beginning": ({"a": entry("F32", [2], 8, 16)}, bytes(16), "leaves a hole"),
    "an end past the end": ({"a": SOUND}, bytes(7), "was it cut short?"),
    "bytes of nobody": ({"a": SOUND}, bytes(9), "but the file has"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_header_is_named_in_one_line(lie: str, tmp_path: Path) -> None:
    header, data, expected = LIES[lie]
    path = tmp_path / "lie.safetensors"
    write_raw(path, header, data)
    with pytest.raises(FormatError) as caught:
        open_safetensors(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_longer_than_the_file_is_refused_unread(length: int, tmp_path: Path) -> None:
    write_raw(tmp_path / "a.safetensors", b"", length=length)
    with pytest.raises(FormatError, match=f"would take {length} bytes"):
        open_safetensors(tmp_path / "a.safetensors")


def test_a_header_of_more_than_100_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_raw(path, b"", length=100_000_001)
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(FormatError, match="at most 100000000 are possible"):
        open_safetensors(path)


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            open_safetensors(path)


def test_a_tensor_of_an_unknown_dtype_is_listed_but_not_read(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    write_raw(path, {"new": entry("F3_NEW", [8], 0, 3), "a": entry("F32", [1], 3, 7)}, bytes(7))
    tensors = open_safetensors(path).tensors
    assert tensors["a"].rows(0, 1).shape == (1, 4)
    with pytest.raises(FormatError, match="new is stored as F3_NEW"):
        tensors["new"].rows(0, 1)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_mutated_file_opens_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "fuzz.safetensors"
    header = {"__metadata__": {"format": "pt"}, "a": SOUND, "b": entry("BF16", [2, 2], 8, 16)}
    write_raw(path, header, bytes(16))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.binary(max_size=4) | st.from_regex(rb"[0-9,{}\[\]:\"]{1,4}")
        )
    path.write_bytes(content)
    try:
        tensors = open_safetensors(path).tensors
    except FormatError:
        return
    assert all(t.row_bytes is None or t.rows(0, t.row_count).nbytes == t.nbytes for t in tensors.values())


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def write_sharded(directory: Path, **weight_map: str) -> None:
    save_file({"a": np.ones((2, 2), np.float32)}, directory / SHARDS[0])
    save_file({"b": np.zeros(3, np.float32), "c": np.zeros(1, np.float32)}, directory / SHARDS[1])
    found = {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[1], **weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": found}))


def test_a_sharded_checkpoint_is_one(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        file = open_safetensors(path)
        assert list(file.tensors) == ["a", "b", "c"]
        assert [shard.name for shard in file.paths] == SHARDS
        assert file.tensors["a"].rows(0, 2).view(np.float32).tolist() == [[1, 1], [1, 1]]


def test_a_directory_with_one_file_needs_no_index(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    assert set(open_safetensors(tmp_path).tensors) == set(ARRAYS)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    with pytest.raises(FormatError, match=f"names {SHARDS[1]}, which is missing"):
        open_safetensors(tmp_path)


def test_a_cut_shard_is_named(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    (tmp_path / SHARDS[1]).write_bytes((tmp_path / SHARDS[1]).read_bytes()[:-1])
    with pytest.raises(FormatError, match=rf"{SHARDS[1]}: .*was it cut short\?"):
        open_safetensors(tmp_path)


@pytest.mark.parametrize(
    "shard", ["../secret.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..\\x.safetensors", "model.bin", ""]
)
def test_an_index_cannot_point_outside_its_directory(shard: str, tmp_path: Path) -> None:
    write_sharded(tmp_path, a=shard)
    with pytest.raises(FormatError, match=r"beside the index is wanted"):
        open_safetensors(tmp_path)


def test_an_index_that_contradicts_its_shards_is_refused(tmp_path: Path) -> None:
    write_sharded(tmp_path, a=SHARDS[1])
    with pytest.raises(FormatError, match="says that a is in model-00002"):
        open_safetensors(tmp_path)
    write_sharded(tmp_path, d=SHARDS[0])
    with pytest.raises(FormatError, match="says that d is in model-00001"):
        open_safetensors(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_sharded(tmp_path)
    save_file({"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}, tmp_path / SHARDS[1])
    with pytest.raises(FormatError, match=r"tensor a is in .*00001-of-00002\.safetensors too"):
        open_safetensors(tmp_path)


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none_is_refused(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(FormatError, match=r"model\.safetensors\.index\.json"):
        open_safetensors(tmp_path)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(BadRequest, match="never read"):
        open_safetensors(tmp_path)
