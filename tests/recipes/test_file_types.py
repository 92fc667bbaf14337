"""The table of file types: names, numbers, and that every format it names exists."""

import pytest
from gguf import LlamaFileType

from pennyweight import formats
from pennyweight.core.errors import UnknownName
from pennyweight.recipes.file_types import ALIASES, ALL, FALLBACK, FileType, get_file_type
from pennyweight.recipes.roles import Role

NUMBERS = {kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): int(kind) for kind in LlamaFileType}


@pytest.mark.parametrize("file_type", ALL, ids=lambda t: t.name)
def test_the_number_is_the_one_the_gguf_package_knows(file_type: FileType) -> None:
    assert file_type.llama_ftype == NUMBERS[file_type.name]


@pytest.mark.parametrize("file_type", ALL, ids=lambda t: t.name)
def test_every_format_in_a_rule_is_one_we_encode(file_type: FileType) -> None:
    named = {rule.format for role in Role for rule in file_type.rules(role)} | {file_type.base}
    assert named <= {format.name for format in formats.ALL}


def test_every_format_of_large_blocks_falls_back_to_one_of_small_blocks() -> None:
    large = {format.name for format in formats.ALL if format.block_size > 32}
    assert set(FALLBACK) == large
    assert {formats.get(name).block_size for name in FALLBACK.values()} == {32}


def test_names_are_case_blind_and_a_bare_k_is_the_medium_mix() -> None:
    assert get_file_type("q4_k_m") is get_file_type("Q4_K_M") is get_file_type("Q4_k")
    assert {alias: get_file_type(alias).name for alias in ALIASES} == ALIASES


def test_an_unknown_type_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UnknownName) as error:
        get_file_type("Q4_K_XL")
    assert all(file_type.name in str(error.value) for file_type in ALL)
    assert "did you mean" in str(error.value)


def test_no_two_types_share_a_name_or_a_number() -> None:
    assert len({t.name for t in ALL}) == len({t.llama_ftype for t in ALL}) == len(ALL) == 20
