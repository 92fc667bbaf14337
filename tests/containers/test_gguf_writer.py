"""What our writer writes, llama.cpp, the gguf package and our reader read; and the bytes are llama.cpp's own."""

import ctypes
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight import formats
from pennyweight.containers.gguf import GGUFValue, StringArray, ValueType
from pennyweight.containers.gguf_reader import GGUFFile, open_gguf
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import FormatError
from tests.oracle import library
from tests.tiny_gguf import write_tiny_gguf

METADATA = {
    "general.architecture": GGUFValue.scalar(ValueType.STRING, "llama"),
    **{f"number.{t.name}": GGUFValue.scalar(t, 7) for t in ValueType if "INT" in t.name},
    "number.f32": GGUFValue.scalar(ValueType.FLOAT32, 1e-6),
    "number.f64": GGUFValue.scalar(ValueType.FLOAT64, 1e-300),
    "flag.yes": GGUFValue.scalar(ValueType.BOOL, True),
    "flag.no": GGUFValue.scalar(ValueType.BOOL, False),
    "text.empty": GGUFValue.scalar(ValueType.STRING, ""),
    "items.tokens": GGUFValue.array(ValueType.STRING, ["<s>", "", "Ġhäuser", "语言", "\udcff\udc80"]),
    "items.scores": GGUFValue.array(ValueType.FLOAT32, [0.5, -1.25, 1e-20]),
    "items.types": GGUFValue.array(ValueType.INT32, [1, 3, -6]),
    "items.flags": GGUFValue.array(ValueType.BOOL, [True, False, True]),
    "items.none": GGUFValue.array(ValueType.STRING, []),
}
TENSORS = tuple(
    TensorInfo(name=name, shape=shape, format=formats.get(format))
    for name, shape, format in (
        ("token_embd.weight", (40, 256), "Q4_K"),
        ("blk.0.ffn_down_exps.weight", (3, 5, 64), "Q8_0"),
        ("blk.0.attn_norm.weight", (7,), "F32"),
        ("blk.0.one", (1,), "F16"),
        ("blk.0.row", (1, 1, 33), "BF16"),
        ("blk.0.middle", (2, 1, 4), "I32"),
    )
)


def contents(tensors: tuple[TensorInfo, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random stored bytes of every tensor: uint8 (rows, row_bytes)."""
    rng = np.random.default_rng(seed)
    return {info.name: rng.integers(0, 256, (info.rows, info.row_bytes), np.uint8) for info in tensors}


def write(
    path: Path,
    data: Mapping[str, np.ndarray],
    tensors: tuple[TensorInfo, ...] = TENSORS,
    metadata: Mapping[str, GGUFValue] = METADATA,
    split_max_size: int | None = None,
) -> GGUFWriter:
    """Write all tensors, last row first."""
    with GGUFWriter(path, metadata, tensors, split_max_size=split_max_size) as writer:
        for name, rows in reversed(data.items()):
            for row in reversed(range(len(rows))):
                writer.write_rows(name, row, rows[row : row + 1])
    return writer


def same(file: GGUFFile, data: Mapping[str, np.ndarray], metadata: Mapping[str, GGUFValue] = METADATA) -> bool:
    """Whether a file holds exactly that metadata, in that order, and that data."""
    return list(file.metadata.items()) == list(metadata.items()) and all(
        np.array_equal(file.tensors[name].rows(0, len(rows)), rows) for name, rows in data.items()
    )


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    data = contents(TENSORS)
    writer = write(tmp_path / "a.gguf", data)
    file = open_gguf(tmp_path / "a.gguf")
    assert same(file, data)
    assert list(file.tensors) == [info.name for info in TENSORS]
    assert file.nbytes == writer.bytes_written == GGUFWriter.size_of(METADATA, TENSORS)
    assert writer.paths == (tmp_path / "a.gguf",)


def test_outer_axes_of_one_are_left_out_as_ggml_leaves_them_out(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", contents(TENSORS))
    file = open_gguf(tmp_path / "a.gguf")
    assert file.tensors["blk.0.row"].shape == (33,)
    assert file.tensors["blk.0.one"].shape == (1,)
    assert file.tensors["blk.0.middle"].shape == (2, 1, 4)


def test_the_header_is_byte_for_byte_what_ggml_would_write(tmp_path: Path) -> None:
    path, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    # ggml keeps strings as C strings in some paths; none of these holds a zero byte.
    write(path, contents(TENSORS))
    lib = library()
    lib.gguf_init_from_file.restype = ctypes.c_void_p
    lib.gguf_init_from_file.argtypes = [ctypes.c_char_p, ctypes.c_bool, ctypes.c_void_p]
    lib.gguf_write_to_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool]
    lib.gguf_write_to_file.restype = ctypes.c_bool
    context = lib.gguf_init_from_file(str(path).encode(), True, None)
    assert context, "ggml does not read our file"
    assert lib.gguf_write_to_file(context, str(theirs).encode(), True)
    header = theirs.read_bytes()
    assert path.read_bytes()[: len(header)] == header
    assert open_gguf(path).tensors[TENSORS[0].name].offset == len(header)


def test_the_gguf_package_reads_our_file(tmp_path: Path) -> None:
    data = contents(TENSORS)
    metadata = {key: value for key, value in METADATA.items() if key != "items.none"}  # its reader trips over no items
    write(tmp_path / "a.gguf", data, metadata=metadata)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    for tensor in reader.tensors:
        assert tensor.data.tobytes() == data[tensor.name].tobytes()
    assert reader.fields["items.types"].contents() == [1, 3, -6]
    assert reader.fields["number.f64"].contents() == 1e-300
    assert reader.fields["text.empty"].contents() == ""


def test_a_copy_of_somebody_elses_file_is_the_same_file(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "theirs.gguf")
    theirs = open_gguf(tmp_path / "theirs.gguf")
    infos = tuple(TensorInfo(name=t.name, shape=t.shape, format=formats.get(t.format)) for t in theirs.tensors.values())
    data = {t.name: t.rows(0, t.row_count) for t in theirs.tensors.values()}
    write(tmp_path / "ours.gguf", data, infos, theirs.metadata)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


def test_another_alignment_is_kept(tmp_path: Path) -> None:
    metadata = {**METADATA, "general.alignment": GGUFValue.scalar(ValueType.UINT32, 256)}
    data = contents(TENSORS)
    write(tmp_path / "a.gguf", data, metadata=metadata)
    file = open_gguf(tmp_path / "a.gguf")
    assert same(file, data, metadata)
    assert {tensor.offset % 256 for tensor in file.tensors.values()} == {0}


def test_a_model_without_tensors_is_a_file_too(tmp_path: Path) -> None:
    write(tmp_path / "vocabulary.gguf", {}, ())
    assert same(open_gguf(tmp_path / "vocabulary.gguf"), {})


@pytest.mark.parametrize(
    ("infos", "expected"),
    [
        ([TensorInfo(name="n" * 64, shape=(4,), format=formats.F32)], "64 bytes"),
        ([TensorInfo(name="", shape=(4,), format=formats.F32)], "0 bytes"),
        ([TensorInfo(name="a", shape=(4,), format=formats.F32)] * 2, "two tensors are named a"),
        ([TensorInfo(name="a", shape=(1, 1, 1, 1, 4), format=formats.F32)], "4 axes"),
        ([TensorInfo(name="a", shape=(4, 0), format=formats.F32)], "none empty"),
        ([TensorInfo(name="a", shape=(4,), format=formats.FP8_E4M3)], "which GGUF cannot hold"),
    ],
)
def test_what_gguf_cannot_hold_is_refused_before_a_file_is_made(
    infos: list[TensorInfo], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=expected):
        GGUFWriter(tmp_path / "a.gguf", METADATA, infos)
    assert not list(tmp_path.iterdir())


SCALARS = {
    **{t: st.integers(0, 255) for t in ValueType if t.name.startswith("UINT")},
    **{t: st.integers(-128, 127) for t in ValueType if t.name.startswith("INT")},
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
}
KEYS = st.text(st.characters(categories=["L", "N", "P"]), max_size=20).map("some.{}".format)
VALUES = st.sampled_from(list(SCALARS)).flatmap(
    lambda t: (
        SCALARS[t].map(lambda v: GGUFValue.scalar(t, v))
        | st.lists(SCALARS[t], max_size=5).map(lambda v: GGUFValue.array(t, v))
    )
)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_metadata_comes_back_with_its_types(tmp_path: Path, metadata: dict[str, GGUFValue]) -> None:
    write(tmp_path / "a.gguf", {}, (), metadata)
    first = (tmp_path / "a.gguf").read_bytes()
    found = open_gguf(tmp_path / "a.gguf").metadata
    assert dict(found) == metadata
    write(tmp_path / "b.gguf", {}, (), found)
    assert (tmp_path / "b.gguf").read_bytes() == first


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ValueType.UINT8, 256), (ValueType.UINT32, -1), (ValueType.INT32, 1.5), (ValueType.BOOL, 2)],
)
def test_a_number_is_never_bent_to_fit_its_type(kind: ValueType, value: float) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        GGUFValue.scalar(kind, value)
    with pytest.raises(ValueError, match="cannot be stored"):
        GGUFValue.array(kind, [0, value])
    with pytest.raises(ValueError, match="cannot be stored"):
        GGUFValue.array(kind, np.array([0, value]))


@pytest.mark.parametrize(("kind", "value"), [(ValueType.STRING, 7), (ValueType.UINT32, "7"), (ValueType.BOOL, "yes")])
def test_text_is_no_number_and_a_number_no_text(kind: ValueType, value: int | str) -> None:
    with pytest.raises(TypeError, match=kind.name):
        GGUFValue.scalar(kind, value)


def test_a_string_array_is_a_sequence() -> None:
    words = ["a", "", "häuser", "\udcff", "z" * 300]
    array = StringArray.of(words)
    assert list(array) == words == array[:] == [array[i] for i in range(len(array))]
    assert (array[-1], array[1:4:2], len(array), "häuser" in array) == (words[-1], words[1:4:2], 5, True)
    assert array == StringArray.of(words) != StringArray.of(words[1:])
    with pytest.raises(IndexError):
        array[5]
