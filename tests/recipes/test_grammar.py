"""Recipes read and print the same, and what makes no sense is refused with its reason."""

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.recipes.grammar import parse_recipe

CANONICAL = (
    "gptq:Q3_K_S",
    "awq+gptq:INT4_G128",
    "gptaq:Q3_K_S",
    "awq+gptaq:INT4_G128",
    "imatrix:IQ4_XS",
    "rtn:INT4_G128",
    "awq+rtn:INT4_G128_ASYM",
    "spqr:3",
    "spqr:3.5",
    "spqr:4.0",
    "llm_int8",
    "fp8",
    "fp8:static",
    "smooth+rtn:W8A8",
    "smooth+gptq:W4A8_G128",
    "gptq:INT8",
    "awq+imatrix:Q4_K_M",
    "gptq:Q4_K_M/kv=q8_0",
)


@pytest.mark.parametrize("text", CANONICAL)
def test_a_canonical_recipe_prints_as_it_was_read(text: str) -> None:
    recipe = parse_recipe(text)
    assert str(recipe) == text
    assert parse_recipe(str(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("GPTQ:q3_k_s", "gptq:Q3_K_S"),
        (" gptq : Q4_K ", "gptq:Q4_K_M"),
        ("awq:int4_g128", "awq+rtn:INT4_G128"),
        ("spqr", "spqr:3"),
        ("SpQR:3.50", "spqr:3.5"),
        ("fp8:FP8_E4M3", "fp8"),
        ("FP8:Static", "fp8:static"),
        ("llm_int8:INT8", "llm_int8"),
    ],
)
def test_shorter_spellings_mean_the_canonical_one(text: str, canonical: str) -> None:
    assert str(parse_recipe(text)) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spqr:Q4_K", "no place for"),
        ("spqr:4", "3-bit codes; write spqr:3, or spqr:4.0 for a budget"),
        ("spqr:3.1", "between 3.25 and 6 stored bits"),
        ("spqr:16.0", "between 3.25 and 6 stored bits"),
        ("awq+spqr:3.5", "by itself"),
        ("imatrix:INT4_G128", "only GGUF formats"),
        ("imatrix:Q8_0", "do not depend on importance"),
        ("gptq:F16", "unquantized"),
        ("smooth+gptq:Q4_K_M", "nothing here rounds activations"),
        ("smooth+rtn:INT8", "nothing here rounds activations"),
        ("awq+smooth+rtn:W8A8", "same places"),
        ("awq+spqr:3", "by itself"),
        ("awq+awq+rtn:INT4", "twice"),
        ("rtn", "needs a target"),
        ("rtn:", "colon"),
        ("rtn:W4A4", "activations of 4 bits"),
        ("rtn:W8A8_ASYM", "_ASYM"),
        ("rtn:INT5_G128", "INT5"),
        ("fp8:Q4_K", "a grid of its own"),
        ("llm_int8:static", "a grid of its own"),
        ("gptq:Q4_K_M/ctx=9", "only one /kv"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        parse_recipe(text)


@pytest.mark.parametrize("text", ["gptk:Q4_K_M", "avq+gptq:INT4", "gptq:Q4_K_XL", "gptq:Q4_K_M/kv=q9_0", ""])
def test_a_word_that_does_not_exist_is_answered_with_those_that_do(text: str) -> None:
    with pytest.raises(UnknownName, match="known:"):
        parse_recipe(text)
