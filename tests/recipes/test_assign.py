"""`assign` against what llama-quantize wrote, and what must hold whatever it wrote."""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight import formats
from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.recipes.assign import Assignment, assign, require_imatrix
from pennyweight.recipes.conditions import use_more_bits
from pennyweight.recipes.file_types import ALL, RULES_VERSION, get_file_type
from pennyweight.recipes.overrides import Overrides, parse_overrides
from tests.recipes.cases import CASES, LAYOUT_CASE, OPTIONS, Case, Tensor, compact_formats

REFUSED = "requires an importance matrix"
PARAMETERS = {
    "--tensor-type": "tensor_types",
    "--output-tensor-type": "output_tensor_type",
    "--token-embedding-type": "token_embedding_type",
    "--pure": "pure",
    "--leave-output-tensor": "leave_output_tensor",
}


@cache
def golden() -> dict[str, Any]:
    """What llama-quantize wrote; the file says which build and who ran it."""
    return json.loads((Path(__file__).parent.parent / "golden" / "file_types.json").read_text(encoding="utf-8"))


def say(assignments: tuple[Assignment, ...]) -> str:
    """Assignments in the golden's words."""
    return compact_formats((a.name, a.format) for a in assignments)


def parse(options: tuple[str, ...]) -> Overrides:
    """llama-quantize's options → `Overrides`."""
    asked: dict[str, Any] = {"tensor_types": []}
    words = iter(options)
    for word in words:
        name = PARAMETERS[word]
        if name == "tensor_types":
            asked[name].append(next(words))
        else:
            asked[name] = True if name in ("pure", "leave_output_tensor") else next(words)
    return parse_overrides(**asked)


def reasons(case: Case, file_type: str, overrides: Overrides | None = None) -> dict[str, str]:
    """Name → format and reason."""
    made = assign(case.tensors(), case.shape, get_file_type(file_type), overrides or Overrides())
    return {a.name: f"{a.format}: {a.reason}" for a in made}


@pytest.mark.parametrize("title", CASES)
def test_every_tensor_becomes_what_llama_quantize_made_of_it(title: str) -> None:
    case, expected = CASES[title], golden()["formats"][title]
    for file_type in ALL:
        plain = assign(case.tensors(), case.shape, file_type)
        weighted = assign(case.tensors(), case.shape, file_type, has_imatrix=True)
        if expected[file_type.name] == REFUSED:
            with pytest.raises(BadRequest):
                require_imatrix(plain, ())
        else:
            require_imatrix(plain, ())
            assert say(plain) == expected[file_type.name]
        same = expected[f"{file_type.name} imatrix"] == "same"
        assert say(weighted) == expected[f"{file_type.name}{'' if same else ' imatrix'}"]


@pytest.mark.parametrize(("title", "file_type", "options"), OPTIONS)
def test_options_go_before_one_another_as_in_llama_quantize(
    title: str, file_type: str, options: tuple[str, ...]
) -> None:
    case = CASES[title]
    made = assign(case.tensors(), case.shape, get_file_type(file_type), parse(options))
    assert say(made) == golden()["options"][f"{title}: {file_type} {' '.join(options)}"]


def test_the_golden_covers_every_case_type_and_option_and_nothing_else() -> None:
    types = {f"{file_type.name}{suffix}" for file_type in ALL for suffix in ("", " imatrix")}
    assert {title: set(made) for title, made in golden()["formats"].items()} == dict.fromkeys(CASES, types)
    assert set(golden()["options"]) == {f"{title}: {name} {' '.join(given)}" for title, name, given in OPTIONS}
    assert f"llama-quantize of {RULES_VERSION}," in golden()["made by"]


def test_the_order_of_the_source_does_not_matter() -> None:
    case = CASES["mixtral 8x7B"]
    tensors = list(case.tensors())
    shuffled = random.Random(0).sample(tensors, len(tensors))
    assert assign(shuffled, case.shape, get_file_type("Q4_K_M")) == assign(tensors, case.shape, get_file_type("Q4_K_M"))


def test_assignments_come_in_the_order_llama_quantize_writes() -> None:
    case = CASES[LAYOUT_CASE]
    made = assign(case.tensors(), case.shape, get_file_type("Q4_K_M"), has_imatrix=True)
    assert [a.name for a in made] == golden()["layout"]["names"]


def test_more_bits_go_to_the_ends_and_to_every_third_layer_between() -> None:
    assert [i for i in range(8) if use_more_bits(i, 8)] == [0, 3, 6, 7]
    assert [i for i in range(32) if use_more_bits(i, 32)] == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_each_assignment_says_why() -> None:
    llama, mixtral = reasons(CASES["llama, GQA 4"], "Q4_K_M"), reasons(CASES["mixtral 8x7B"], "Q4_K_M")
    assert llama["blk.6.attn_v.weight"] == "Q6_K: attn_v: use_more_bits(6, 32)"
    assert llama["blk.6.attn_q.weight"] == "Q4_K: base of Q4_K_M"
    assert llama["blk.6.attn_norm.weight"] == "F32: kept: a vector"
    assert llama["output.weight"] == "Q6_K: output: always in Q4_K_M"
    assert mixtral["blk.6.attn_k.weight"] == "Q8_0: attn_k: 8 experts"
    assert mixtral["blk.6.ffn_gate_inp.weight"] == "F32: kept: an expert router"
    seventy = reasons(CASES["llama 70B"], "Q3_K_S")
    assert seventy["blk.6.attn_v.weight"] == "Q5_K: attn_v: a 70B model"
    ragged = reasons(CASES["rows of 288"], "Q4_K_M")
    assert ragged["output.weight"] == "Q8_0: output: 288 columns are not a multiple of 256"
    assert ragged["blk.1.attn_q.weight"] == "Q5_0: base of Q4_K_M; fallback: 288 columns are not a multiple of 256"
    assert reasons(CASES["llama, GQA 4"], "BF16")["blk.1.attn_q.weight"] == "BF16: all of BF16"
    iq4 = reasons(CASES["llama, GQA 4"], "IQ4_XS")
    assert iq4["blk.1.attn_v.weight"] == "Q5_K: attn_v: 4 query heads share a KV head (at least 4)"
    assert iq4["blk.1.ffn_down.weight"] == (
        "Q5_K: ffn_down: layer 1, one of the first 4 (1/8) of 32, without an importance matrix"
    )


def test_an_option_is_named_as_the_reason() -> None:
    asked = parse(("--tensor-type", "attn_q=Q6_K", "--output-tensor-type", "Q8_0", "--token-embedding-type", "Q5_K"))
    made = reasons(CASES["llama, GQA 4"], "Q4_K_M", asked)
    assert made["blk.0.attn_q.weight"] == "Q6_K: --tensor-type attn_q"
    assert made["output.weight"] == "Q8_0: --output-tensor-type"
    assert made["token_embd.weight"] == "Q5_K: --token-embedding-type"
    assert reasons(CASES["llama, GQA 4"], "Q4_K_M", Overrides(leave_output_tensor=True))["output.weight"] == (
        "F16: kept: --leave-output-tensor"
    )


@settings(deadline=None, derandomize=True)  # a busy machine is no failure; a seed is fixed
@given(
    columns=st.integers(1, 9).flatmap(lambda n: st.sampled_from([n, 32 * n, 256 * n, 288 * n])),
    file_type=st.sampled_from(ALL),
    asked=st.sampled_from([f.name for f in formats.ALL if f.ggml_type is not None]),
    tied=st.booleans(),
)
def test_no_option_goes_round_the_row_size_fallback(columns: int, file_type: Any, asked: str, tied: bool) -> None:
    outside = ("token_embd",) if tied else ("token_embd", "output")
    case = Case(blocks=2, outside=outside, columns=(("token_embd", columns), ("output", columns), ("attn_q", columns)))
    named = parse_overrides(tensor_types=["attn_q=" + asked] if file_type.is_quantized else [])
    for overrides in (
        named,
        Overrides(output_tensor_type=asked),
        Overrides(token_embedding_type=asked),
        Overrides(pure=True),
    ):
        stored = {tensor.name: tensor for tensor in case.tensors()}
        for made in assign(case.tensors(), case.shape, file_type, overrides):
            assert stored[made.name].shape[-1] % formats.get(made.format).block_size == 0
            assert made.fell_back == ("; fallback: " in made.reason)


def test_an_asked_for_format_that_the_rows_cannot_have_falls_back_and_says_so() -> None:
    asked = Overrides(output_tensor_type="Q6_K", token_embedding_type="Q4_K")
    made = reasons(CASES["rows of 288"], "Q4_K_M", asked)
    assert made["output.weight"] == "Q8_0: --output-tensor-type; fallback: 288 columns are not a multiple of 256"
    assert made["token_embd.weight"].startswith("Q5_0: --token-embedding-type; fallback")
    assert reasons(CASES["rows of 100"], "F16", asked)["output.weight"] == (
        "F16: --output-tensor-type; fallback: 100 columns are not a multiple of 32"
    )


def test_a_q2_k_s_without_importance_names_the_first_tensor_that_needs_it() -> None:
    case = CASES["llama, GQA 4"]
    made = assign(case.tensors(), case.shape, get_file_type("Q2_K_S"))
    with pytest.raises(BadRequest, match=r"blk\.0\.attn_k\.weight as Q2_K .* needs an importance matrix, got none;"):
        require_imatrix(made, ())
    demanding = {a.name for a in made if a.demands_imatrix}
    assert "token_embd.weight" not in demanding
    require_imatrix(made, demanding)
    with pytest.raises(BadRequest, match=r"blk\.9\.attn_q\.weight .* got none for this tensor"):
        require_imatrix(made, demanding - {"blk.9.attn_q.weight"})


def test_tensor_types_are_refused_where_llama_quantize_would_ignore_them() -> None:
    case = CASES["llama, GQA 4"]
    with pytest.raises(BadRequest, match=r"--tensor-type .* got F16"):
        assign(case.tensors(), case.shape, get_file_type("F16"), parse_overrides(tensor_types=["attn_q=Q8_0"]))


@pytest.mark.parametrize("name", ["blk.32.ffn_down.weight", "ffn_up.weight", "blk.-1.ffn_gate.weight"])
def test_an_expert_models_feed_forward_must_name_a_block_of_the_model(name: str) -> None:
    case = CASES["mixtral 8x7B"]
    with pytest.raises(FormatError, match=f"{name} names no block of the model, which has 32"):
        assign([Tensor(name=name, shape=(2, 256))], case.shape, get_file_type("Q4_K_M"))


def test_leading_axes_of_length_one_do_not_make_a_vector_a_matrix() -> None:
    shapes = {
        "a.weight": (1, 256),
        "b.weight": (1, 1, 256),
        "c.weight": (1, 2, 256),
        "d.weight": (2, 1, 256),
        "e": (1,),
    }
    tensors = [Tensor(name=name, shape=shape) for name, shape in shapes.items()]
    made = assign(tensors, CASES["llama, GQA 4"].shape, get_file_type("Q8_0"))
    assert [a.format for a in made] == ["F16", "F16", "Q8_0", "Q8_0", "F16"]
