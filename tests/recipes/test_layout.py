"""Metadata and order of the written file, against those llama-quantize wrote."""

import pytest

from pennyweight.containers.gguf import GGUFValue, StringArray, ValueType, decode_text, encode_text
from pennyweight.recipes.file_types import ALL, FileType, get_file_type
from pennyweight.recipes.layout import ImatrixProvenance, output_metadata
from pennyweight.recipes.order import block_number, output_order
from tests.recipes.cases import CASES, LAYOUT_CASE
from tests.recipes.make_golden import IMATRIX
from tests.recipes.test_assign import golden

TEXT = ValueType.STRING


def read(keys: list[list]) -> dict[str, GGUFValue]:
    """The golden's keys as `GGUFValue`s."""
    plain = {key: decode_text(bytes.fromhex(value)) if kind == "STRING" else value for key, kind, value in keys}
    return {key: GGUFValue.scalar(ValueType[kind], plain[key]) for key, kind, _ in keys}


def number(value: int) -> GGUFValue:
    return GGUFValue.scalar(ValueType.UINT32, value)


def test_the_metadata_is_what_llama_quantize_writes_in_its_order() -> None:
    entries = len(list(CASES[LAYOUT_CASE].tensors()))
    imatrix = ImatrixProvenance(file=IMATRIX, dataset="calibration.txt", entries=entries, chunks=7)
    made = output_metadata(read(golden()["layout"]["before"]), get_file_type("Q4_K_M"), imatrix)
    assert list(made.items()) == list(read(golden()["layout"]["after"]).items())


@pytest.mark.parametrize("file_type", ALL, ids=lambda t: t.name)
def test_the_file_type_and_the_version_come_last_wherever_they_stood(file_type: FileType) -> None:
    before = {"general.file_type": number(1), "general.architecture": GGUFValue.scalar(TEXT, "llama")}
    made = output_metadata(before, file_type)
    assert list(made) == ["general.architecture", "general.quantization_version", "general.file_type"]
    assert made["general.file_type"] == number(file_type.llama_ftype)


def test_keys_of_a_split_source_are_left_out_and_the_alignment_stays() -> None:
    split = {"split.no": number(0), "split.count": number(2), "split.tensors.count": number(9)}
    made = output_metadata(split | {"general.alignment": number(64)}, get_file_type("Q8_0"))
    assert list(made) == ["general.alignment", "general.quantization_version", "general.file_type"]


def test_an_importance_matrix_that_says_little_adds_few_keys() -> None:
    imatrix = ImatrixProvenance(file="old.dat", dataset=None, entries=3, chunks=0)
    made = output_metadata({}, get_file_type("Q8_0"), imatrix)
    assert list(made)[2:] == ["quantize.imatrix.file", "quantize.imatrix.entries_count"]


def test_keys_of_an_earlier_importance_matrix_stay_where_none_is_given_now() -> None:
    before = {"quantize.imatrix.file": GGUFValue.scalar(TEXT, "a"), "x": number(1)}
    assert list(output_metadata(before, get_file_type("Q8_0")))[:2] == ["quantize.imatrix.file", "x"]


def test_a_long_path_is_cut_where_llama_quantize_cuts_it_be_it_inside_a_letter() -> None:
    made = output_metadata(
        {}, get_file_type("Q8_0"), ImatrixProvenance(file=IMATRIX, dataset="é" * 64, entries=1, chunks=1)
    )
    kept = made["quantize.imatrix.dataset"].value
    assert isinstance(kept, str)
    assert encode_text(kept) == ("é" * 64).encode()[:127]


def test_texts_end_at_a_zero_byte_as_c_strings_do() -> None:
    tokens = GGUFValue.array(TEXT, ["a", "b\0c", "\0", "", "é"])
    made = output_metadata({"name": GGUFValue.scalar(TEXT, "x\0y"), "tokens": tokens}, get_file_type("Q8_0"))
    assert made["name"].value == "x"
    assert made["tokens"].value == StringArray.of(["a", "b", "", "", "é"])


def test_a_vocabulary_without_zero_bytes_is_handed_on_and_not_copied() -> None:
    tokens = GGUFValue.array(TEXT, ["a", "b"])
    assert output_metadata({"tokens": tokens}, get_file_type("Q8_0"))["tokens"] is tokens


def test_blocks_are_ordered_by_number_and_names_by_bytes() -> None:
    names = ["blk.10.a", "output.weight", "blk.2.b", "blk.2.a", "token_embd.weight", "blk.2.é", "blk.2.z", "Z"]
    assert output_order(names) == [
        *("Z", "output.weight", "token_embd.weight"),
        *("blk.2.a", "blk.2.b", "blk.2.z", "blk.2.é", "blk.10.a"),
    ]


def test_only_a_name_that_begins_with_a_block_has_its_number() -> None:
    names = ["blk.3.attn_q.weight", "blk.12", "v.blk.3.attn_q.weight", "token_embd.weight", "blk.x", "blk.-4.a"]
    assert [block_number(name) for name in names] == [3, 12, -1, -1, -1, -4]
