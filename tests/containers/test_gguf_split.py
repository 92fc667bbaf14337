"""Split models: opened by any part, complete or not at all; written under llama.cpp's names and keys."""

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from pennyweight import formats
from pennyweight.containers.gguf import SPLIT_KEYS, GGUFValue, ValueType
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import FormatError
from tests.containers.test_gguf_writer import METADATA, contents, same, write

TENSORS = tuple(TensorInfo(name=f"blk.{i}.weight", shape=(10 + i, 32), format=formats.F32) for i in range(5))
SIZES = [1280, 1408, 1536, 1664, 1792]
PARTS = [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]


def split(directory: Path) -> dict[str, np.ndarray]:
    """A model of five tensors in three parts: two, two, one."""
    data = contents(TENSORS)
    writer = write(directory / "m.gguf", data, TENSORS, split_max_size=SIZES[2] + SIZES[3])
    assert [path.name for path in writer.paths] == PARTS
    assert writer.bytes_written == sum(path.stat().st_size for path in writer.paths)
    return data


@pytest.mark.parametrize("part", PARTS)
def test_any_part_opens_the_whole_model(part: str, tmp_path: Path) -> None:
    data = split(tmp_path)
    file = open_gguf(tmp_path / part)
    assert same(file, data)
    assert list(file.tensors) == [info.name for info in TENSORS]
    assert [path.name for path in file.paths] == PARTS


def test_parts_carry_the_keys_that_gguf_split_writes(tmp_path: Path) -> None:
    split(tmp_path)
    for number, part in enumerate(PARTS):
        fields = {k: f for k, f in gguf.GGUFReader(tmp_path / part).fields.items() if not k.startswith("GGUF.")}
        # In this order; the count stands last because gguf-split learns it last.
        assert list(fields)[-3:] == ["split.no", "split.tensors.count", "split.count"]
        assert [fields[key].contents() for key in SPLIT_KEYS] == [number, 3, 5]
        assert [fields[key].types[0].name for key in SPLIT_KEYS] == ["UINT16", "UINT16", "INT32"]
        assert (len(fields) > 3) == (number == 0)


def test_a_tensor_larger_than_a_part_gets_its_own(tmp_path: Path) -> None:
    writer = write(tmp_path / "m.gguf", contents(TENSORS), TENSORS, split_max_size=1)
    assert [path.name for path in writer.paths] == [f"m-0000{i}-of-00005.gguf" for i in range(1, 6)]
    assert len(open_gguf(writer.paths[3]).tensors) == 5


def test_a_model_that_fits_into_one_part_is_an_ordinary_file(tmp_path: Path) -> None:
    data = contents(TENSORS)
    writer = write(tmp_path / "m.gguf", data, TENSORS, split_max_size=sum(SIZES))
    assert writer.paths == (tmp_path / "m.gguf",)
    assert same(open_gguf(tmp_path / "m.gguf"), data)


def test_parts_are_padded_as_each_part_says(tmp_path: Path) -> None:
    metadata = {**METADATA, "general.alignment": GGUFValue.scalar(ValueType.UINT32, 1024)}
    data = contents(TENSORS)
    writer = write(tmp_path / "m.gguf", data, TENSORS, metadata, split_max_size=3000)
    assert same(open_gguf(writer.paths[1]), data, metadata)


def test_size_of_counts_every_part(tmp_path: Path) -> None:
    split(tmp_path)
    expected = sum((tmp_path / part).stat().st_size for part in PARTS)
    assert GGUFWriter.size_of(METADATA, TENSORS, split_max_size=SIZES[2] + SIZES[3]) == expected


@pytest.mark.parametrize("asked", [0, 2])
def test_a_missing_part_is_named(asked: int, tmp_path: Path) -> None:
    split(tmp_path)
    (tmp_path / PARTS[1]).unlink()
    with pytest.raises(FormatError, match=rf"{PARTS[asked]} is part of a split model and {PARTS[1]} is missing"):
        open_gguf(tmp_path / PARTS[asked])


def test_a_part_under_another_name_is_refused(tmp_path: Path) -> None:
    split(tmp_path)
    shutil.copy(tmp_path / PARTS[0], tmp_path / "model.gguf")
    with pytest.raises(FormatError, match=r"part 1 of 3 .* its name does not say so"):
        open_gguf(tmp_path / "model.gguf")


def test_a_part_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    split(tmp_path)
    shutil.copy(tmp_path / PARTS[1], tmp_path / PARTS[2])
    with pytest.raises(FormatError, match=rf"{PARTS[2]} says it is part 1 of 3 \(from 0\), wanted part 2 of 3"):
        open_gguf(tmp_path / PARTS[0])


def test_a_part_of_another_model_is_refused(tmp_path: Path) -> None:
    split(tmp_path)
    (tmp_path / "other").mkdir()
    write(tmp_path / "other/m.gguf", contents(TENSORS[:4]), TENSORS[:4], split_max_size=SIZES[2])
    shutil.copy(tmp_path / "other/m-00003-of-00004.gguf", tmp_path / PARTS[2])
    with pytest.raises(FormatError, match="part 2 of 4"):
        open_gguf(tmp_path / PARTS[0])


def test_tensors_that_two_parts_hold_or_none_holds_are_refused(tmp_path: Path) -> None:
    split(tmp_path)

    def replace_last_part(infos: tuple[TensorInfo, ...]) -> None:
        keys = {
            "split.no": GGUFValue.scalar(ValueType.UINT16, 2),
            "split.count": GGUFValue.scalar(ValueType.UINT16, 3),
        }
        write(tmp_path / PARTS[2], contents(infos), infos, keys)

    replace_last_part(TENSORS[:1])
    with pytest.raises(FormatError, match=r"blk\.0\.weight stands in an earlier part"):
        open_gguf(tmp_path / PARTS[0])
    replace_last_part(())
    with pytest.raises(FormatError, match=r"hold 4 tensors, split\.tensors\.count says 5"):
        open_gguf(tmp_path / PARTS[0])
