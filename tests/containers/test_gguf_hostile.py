"""A GGUF file is hostile until checked: every lie gets one line that names it, and costs no memory."""

import os
import tracemalloc
from pathlib import Path
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.core.errors import BadRequest, FormatError
from tests.containers.raw_gguf import ARRAY, BOOL, STRING, U32, U64, RawGGUF, key, strings, tensor, text

ALIGNMENT = key("general.alignment", U32, pack("<I", 64))

LIES = {
    "wrong magic": (RawGGUF(magic=b"GGML"), "not a GGUF file"),
    "version 0": (RawGGUF(version=0), "version 0"),
    "version 1": (RawGGUF(version=1), "version 1"),
    "version 4": (RawGGUF(version=4), "version 4"),
    "big-endian": (RawGGUF(version=3 << 24), "big-endian"),
    "2^60 tensors": (RawGGUF(tensor_count=1 << 60), "1152921504606846976 tensors"),
    "2^60 keys": (RawGGUF(key_count=1 << 60), "1152921504606846976 keys"),
    "2^63 tensors": (RawGGUF(tensor_count=1 << 63), "-9223372036854775808 tensors"),
    "2^63 keys": (RawGGUF(key_count=1 << 63), "-9223372036854775808 keys"),
    "more tensors than there is room for": (RawGGUF(tensor_count=1000), "1000 tensors at byte 24 would take"),
    "a tensor too many": (RawGGUF(tensor_count=3), "tensor 2"),
    "a string of 2^63 bytes": (RawGGUF(keys=[key("k", STRING, pack("<Q", 1 << 63))]), "would take"),
    "a string past the end": (RawGGUF(keys=[key("k", STRING, pack("<Q", 500))]), "would take"),
    "a key of 2^63 bytes": (RawGGUF(keys=[pack("<Q", 1 << 63)]), "9223372036854775808 bytes"),
    "a key of 70000 bytes": (RawGGUF(keys=[key("k" * 70_000, BOOL, b"\1")]), "65535"),
    "an empty key": (RawGGUF(keys=[key("", BOOL, b"\1")]), "has 0 bytes"),
    "a key with an escape": (RawGGUF(keys=[key("\x1b[2J", BOOL, b"\1")]), "not printable"),
    "a key not in UTF-8": (RawGGUF(keys=[key(b"\xff\xfe", BOOL, b"\1")]), "not printable"),
    "a key twice": (RawGGUF(keys=[key("k", BOOL, b"\1"), key("k", BOOL, b"\0")]), "twice"),
    "value type 13": (RawGGUF(keys=[key("k", 13, bytes(8))]), "value type 13"),
    "value type -1": (RawGGUF(keys=[key("k", -1, bytes(8))]), "value type -1"),
    "item type 99": (RawGGUF(keys=[key("k", ARRAY, pack("<iQ", 99, 1))]), "value type 99"),
    "an array of arrays": (RawGGUF(keys=[key("k", ARRAY, pack("<iQ", ARRAY, 1))]), "array of arrays"),
    "2^61 numbers": (RawGGUF(keys=[key("k", ARRAY, pack("<iQ", U64, 1 << 61))]), "would take"),
    "2^64 - 1 numbers": (RawGGUF(keys=[key("k", ARRAY, pack("<iQ", U64, (1 << 64) - 1))]), "would take"),
    "2^60 strings": (RawGGUF(keys=[key("k", ARRAY, strings("a", count=1 << 60))]), "would take"),
    "more strings than there are": (RawGGUF(keys=[key("k", ARRAY, strings("a", count=12))]), "past the end"),
    "a string in an array of 2^64 - 1 bytes": (
        RawGGUF(keys=[key("k", ARRAY, pack("<iQQ", STRING, 1, (1 << 64) - 1))]),
        "past the end",
    ),
    "alignment 0": (RawGGUF(keys=[key("general.alignment", U32, pack("<I", 0))]), "power of two"),
    "alignment 48": (RawGGUF(keys=[key("general.alignment", U32, pack("<I", 48))]), "found 48"),
    "alignment of the wrong type": (RawGGUF(keys=[key("general.alignment", U64, pack("<Q", 32))]), "found 32 (UINT64)"),
    "a name of 64 bytes": (RawGGUF(tensors=[tensor("n" * 64, (4,))]), "64 bytes"),
    "no name": (RawGGUF(tensors=[tensor("", (4,))]), "0 bytes"),
    "a name twice": (RawGGUF(tensors=[tensor("a", (4,)), tensor("a", (4,), 0, 32)]), "twice"),
    "5 dimensions": (RawGGUF(tensors=[tensor("a", (1, 1, 1, 1, 4))]), "5 dimensions"),
    "2^32 - 1 dimensions": (RawGGUF(tensors=[tensor("a", (4,), dims=(1 << 32) - 1)]), "dimensions"),
    "an axis of zero": (RawGGUF(tensors=[tensor("a", (4, 0))]), "impossible shape (0, 4)"),
    "a negative axis": (RawGGUF(tensors=[tensor("a", (-4,))]), "impossible shape"),
    "2^64 weights": (RawGGUF(tensors=[tensor("a", (1 << 32, 1 << 32))]), "impossible shape"),
    "2^62 weights": (RawGGUF(tensors=[tensor("a", (1 << 62,))]), "was it cut short?"),
    "a row of 31 in Q8_0": (RawGGUF(tensors=[tensor("a", (31,), 8)]), "multiples of 32"),
    "an offset between the alignments": (RawGGUF(tensors=[tensor("a", (4,), 0, 16)]), "alignment 32"),
    "an offset past the end": (RawGGUF(tensors=[tensor("a", (4,), 0, 96)]), "was it cut short?"),
    "an offset of 2^64 - 32": (RawGGUF(tensors=[tensor("a", (4,), 0, (1 << 64) - 32)]), "was it cut short?"),
    "an overlap": (RawGGUF(tensors=[tensor("a", (9,)), tensor("b", (4,), 0, 32)]), "a and b overlap"),
    "an overlap listed backwards": (RawGGUF(tensors=[tensor("b", (4,), 0, 32), tensor("a", (9,))]), "a and b overlap"),
    "the same bytes twice": (RawGGUF(tensors=[tensor("a", (4,)), tensor("b", (4,))]), "overlap"),
    "aligned to 32 where 64 is said": (
        RawGGUF(keys=[ALIGNMENT], tensors=[tensor("a", (4,)), tensor("b", (4,), 0, 32)], alignment=64),
        "alignment 64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_header_is_named_in_one_line(lie: str, tmp_path: Path) -> None:
    raw, expected = LIES[lie]
    path = tmp_path / "lie.gguf"
    path.write_bytes(raw.bytes())
    with pytest.raises(FormatError) as caught:
        open_gguf(path)
    message = str(caught.value)
    assert expected in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_the_file_that_the_lies_are_told_about_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "sound.gguf"
    path.write_bytes(RawGGUF().bytes())
    file = open_gguf(path)
    assert {name: (t.shape, t.format, t.nbytes) for name, t in file.tensors.items()} == {
        "a": ((2, 4), "F32", 32),
        "b": ((32,), "Q8_0", 34),
    }
    assert file.tensors["a"].rows(1, 2).tobytes() == bytes(range(16, 32))


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(RawGGUF().bytes())
    needed = len(RawGGUF().header()) + 32 + 34  # what follows is padding, which some writers leave out
    os.truncate(path, needed)
    assert len(open_gguf(path).tensors) == 2
    for length in reversed(range(needed)):
        os.truncate(path, length)
        with pytest.raises(FormatError):
            open_gguf(path)


def test_a_tensor_of_an_unknown_type_is_listed_but_not_read(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(RawGGUF(tensors=[tensor("a", (4, 2)), tensor("new", (7, 3), 57, 32)]).bytes())
    file = open_gguf(path)
    assert (file.tensors["new"].format, file.tensors["new"].shape, file.tensors["new"].nbytes) == (
        "type 57",
        (3, 7),
        64,
    )
    assert file.tensors["a"].rows(0, 2).shape == (2, 16)
    with pytest.raises(FormatError, match="new is stored as type 57"):
        file.tensors["new"].rows(0, 1)


def test_a_file_cut_while_it_is_open_is_one_line_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(RawGGUF().bytes())
    file = open_gguf(path)
    path.write_bytes(RawGGUF().header())
    with pytest.raises(FormatError, match="cut short"):
        file.tensors["a"].rows(0, 2)


@pytest.mark.parametrize("kind", ["missing", "a directory"])
def test_a_path_that_is_no_file_is_a_bad_request(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot open"):
        open_gguf(tmp_path if kind == "a directory" else tmp_path / "missing.gguf")


def test_a_lie_about_a_count_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gguf"
    path.write_bytes(RawGGUF(keys=[key("k", ARRAY, strings("a", count=1 << 40))]).header())
    with path.open("ab") as file:
        file.truncate(1 << 42)  # 4 TB by its size, so that the count itself is possible
    tracemalloc.start()
    with pytest.raises(FormatError, match="no header may be larger"):
        open_gguf(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def _open_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        file = open_gguf(path)
    except FormatError:
        return
    for stored in file.tensors.values():
        if stored.row_bytes is not None:
            assert stored.rows(0, stored.row_count).nbytes == stored.nbytes
    for value in file.metadata.values():
        assert value == value
        list(value.value) if value.item_type is not None else value.value


FUZZ = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(st.data())
def test_a_mutated_header_opens_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(RawGGUF().bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        patch = data.draw(
            st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x80"])
        )
        how = data.draw(st.sampled_from(["overwrite", "insert", "delete"]))
        content[at : at + (0 if how == "insert" else len(patch))] = b"" if how == "delete" else patch
        content = content or bytearray(1)
    _open_or_refuse(tmp_path / "fuzz.gguf", bytes(content))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_right_beginning_open_or_are_refused(tmp_path: Path, tail: bytes) -> None:
    _open_or_refuse(tmp_path / "fuzz.gguf", b"GGUF" + pack("<IQQ", 3, len(tail) % 3, len(tail) % 2) + tail)


def test_strings_longer_than_one_read_ahead_are_found(tmp_path: Path) -> None:
    long = ["x" * (3 << 20), "", "y" * (1 << 20), "z"]
    path = tmp_path / "long.gguf"
    path.write_bytes(RawGGUF(keys=[key("k", ARRAY, strings(*long)), key("after", STRING, text("it"))]).bytes())
    file = open_gguf(path)
    assert list(file.metadata["k"].value) == long  # type: ignore[arg-type]
    assert file.metadata["after"].value == "it"
