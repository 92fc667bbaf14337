"""The tables of formats: names, ids, what is only read, and what a wrong name answers."""

from dataclasses import replace

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.core.errors import BadRequest, ShapeError, UnknownName
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.sizes import SIZES, require_declared, row_bytes
from tests.oracle import ggml_decode, library

each_foreign = pytest.mark.parametrize("format", formats.FOREIGN, ids=lambda f: f.name)


@pytest.mark.parametrize("format", [*formats.ALL, *formats.FOREIGN], ids=lambda f: f.name)
def test_a_format_is_found_by_its_name_in_any_case_and_by_its_id(format: BlockFormat):
    assert formats.get(format.name) is formats.get(format.name.lower()) is format
    assert format.ggml_type is None or formats.by_ggml_type(format.ggml_type) is format


def test_an_unknown_name_answers_with_the_nearest_ones():
    with pytest.raises(UnknownName, match=r"no format named 'Q4_KM'; did you mean .*Q4_K.*known: F32, F16"):
        formats.get("Q4_KM")


def test_a_format_that_is_only_read_cannot_be_asked_for_to_write():
    assert formats.get_writable("q4_k") is formats.Q4_K
    with pytest.raises(UnknownName, match="no format that can be written named 'IQ2_XXS'") as raised:
        formats.get_writable("IQ2_XXS")
    assert "MXFP4" not in str(raised.value)


@pytest.mark.parametrize("ggml_type", [-1, 4, 5, 9, 15, 31, 43, 1 << 60])
def test_an_id_that_no_file_may_hold_has_no_format(ggml_type: int):
    assert formats.by_ggml_type(ggml_type) is None


def test_every_type_that_ggml_may_store_has_a_format():
    internal = {9, 15}  # Q8_1 and Q8_K hold activations and never reach a file
    stored = {i for i in range(43) if library().ggml_blck_size(i)} - internal
    assert stored == {f.ggml_type for f in (*formats.ALL, *formats.FOREIGN)} - {None}


def test_two_formats_with_one_name_or_id_fail():
    twin = replace(formats.Q4_0, ggml_type=99)
    with pytest.raises(ValueError, match="Q4_0 and Q4_0 both claim 'Q4_0'"):
        formats.index_by(lambda f: f.name, (*formats.ALL, twin))
    other = replace(formats.Q4_0, name="Q4_X")
    with pytest.raises(ValueError, match="Q4_X and Q4_0 both claim 2"):
        formats.index_by(lambda f: f.ggml_type, (*formats.ALL, other))


@each_foreign
def test_sizes_of_foreign_formats_are_those_of_ggml(format: BlockFormat):
    assert library().ggml_blck_size(format.ggml_type) == format.block_size
    assert library().ggml_type_size(format.ggml_type) == format.block_bytes


@pytest.mark.parametrize("format", [f for f in formats.FOREIGN if f.block_size > 1], ids=lambda f: f.name)
def test_foreign_blocks_decode_to_the_oracles_numbers(format: BlockFormat):
    columns = 2 * 256
    data = np.random.default_rng(9).integers(0, 256, (16, format.row_bytes(columns)), np.uint8)
    np.testing.assert_array_equal(format.decode(data), ggml_decode(format.name, data, columns))


@pytest.mark.parametrize("format", [f for f in formats.FOREIGN if f.block_size == 1], ids=lambda f: f.name)
def test_plain_numbers_decode_to_their_values(format: BlockFormat):
    numbers = np.array([[-3, 0, 1, 127]], format.layout["value"])
    np.testing.assert_array_equal(format.decode(numbers.view(np.uint8)), [[-3, 0, 1, 127]])


@each_foreign
def test_a_foreign_format_says_that_it_is_only_read(format: BlockFormat):
    with pytest.raises(BadRequest, match=f"{format.name} can be read but not written"):
        format.encode(np.zeros((1, 256), np.float32))


def test_sizes_that_are_declared_are_those_of_the_layouts_and_of_ggml():
    for format in (*formats.ALL, *formats.FOREIGN):
        assert SIZES[format.name] == (format.block_size, format.block_bytes)
        assert row_bytes(format.name.lower(), 3 * format.block_size) == format.row_bytes(3 * format.block_size)
        if format.ggml_type is not None:
            assert library().ggml_type_size(format.ggml_type) == SIZES[format.name][1]
    with pytest.raises(UnknownName, match="did you mean"):
        row_bytes("Q4_KM", 256)
    with pytest.raises(ShapeError, match="multiples of 256"):
        row_bytes("Q4_K", 100)


def test_a_layout_of_other_bytes_than_declared_fails_at_import():
    declared = [(name, *size) for name, size in SIZES.items()]
    require_declared(declared)
    with pytest.raises(ValueError, match=r"'Q4_K', \(256, 143\)"):
        require_declared([("Q4_K", 256, 143) if name == "Q4_K" else (name, *rest) for name, *rest in declared])
    with pytest.raises(ValueError, match="Q9_K"):
        require_declared([*declared, ("Q9_K", 256, 290)])
