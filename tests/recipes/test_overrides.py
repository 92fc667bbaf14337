"""`--tensor-type` and its relatives, as they are typed."""

from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.recipes.overrides import Overrides, parse_overrides, parse_tensor_type


def test_the_first_pattern_that_is_found_decides() -> None:
    asked = parse_overrides(tensor_types=["attn_(q|k)=Q6_K", "attn=Q8_0"])
    found = [asked.named(f"blk.0.{name}.weight") for name in ("attn_k", "attn_v", "ffn_up")]
    assert [named and named.format for named in found] == ["Q6_K", "Q8_0", None]


def test_a_pattern_is_lower_cased_and_a_format_is_case_blind() -> None:
    asked = parse_tensor_type(r"BLK\.\D\.Attn_Q=q4_k")
    assert asked.format == "Q4_K"
    assert asked.pattern.search("blk.7.attn_q.weight")  # \D became \d, as in llama-quantize


def test_a_file_holds_patterns_between_white_space_after_those_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "types.txt"
    path.write_text("attn_q=Q8_0\n\n  ffn_up=Q5_K\tffn_down=Q6_K")
    asked = parse_overrides(tensor_types=["attn_v=F16"], tensor_type_file=path)
    assert [t.format for t in asked.tensor_types] == ["F16", "Q8_0", "Q5_K", "Q6_K"]


def test_formats_of_the_other_options_are_checked_and_written_as_we_write_them() -> None:
    asked = parse_overrides(output_tensor_type="q8_0", token_embedding_type="bf16", pure=True, leave_output_tensor=True)
    assert asked == Overrides(
        output_tensor_type="Q8_0", token_embedding_type="BF16", pure=True, leave_output_tensor=True
    )


@pytest.mark.parametrize("text", ["attn_q", "=Q4_K", "attn_q=", "", "attn_(=Q4_K", "[[:digit:]]=Q4_K", "*=Q4_K"])
def test_a_malformed_tensor_type_is_one_line_that_repeats_it(text: str) -> None:
    with pytest.raises(BadRequest, match="--tensor-type") as error:
        parse_tensor_type(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Q4_K_M", "FP8_E4M3", "Q9"])
def test_a_format_that_gguf_does_not_have_is_answered_with_those_it_has(name: str) -> None:
    for call in (
        lambda: parse_tensor_type(f"attn_q={name}"),
        lambda: parse_overrides(output_tensor_type=name),
        lambda: parse_overrides(token_embedding_type=name),
    ):
        with pytest.raises(UnknownName, match=r"known: .*Q4_K"):
            call()


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe=Q4_K")
    for path in (tmp_path / "absent", tmp_path / "binary", tmp_path):
        with pytest.raises(BadRequest, match="--tensor-type-file"):
            parse_overrides(tensor_type_file=path)
