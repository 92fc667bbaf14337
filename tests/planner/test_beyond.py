"""A context beyond the model's is said, with the rope scaling by name."""

from pennyweight.planner.beyond import context_note
from pennyweight.planner.resolve import resolve


def test_a_context_within_the_models_needs_no_word() -> None:
    assert context_note(resolve("Qwen3-8B"), 40_960) == ""


def test_a_longer_one_is_told_how_to_stretch() -> None:
    said = context_note(resolve("Qwen3-8B"), 131_072)
    assert "131072 tokens are more than the 40960 that Qwen3-8B was trained on; unstretched" in said
    assert said.endswith("--rope-scaling yarn --rope-scale 4 --yarn-orig-ctx 40960")


def test_a_model_that_is_stretched_already_says_so() -> None:
    assert "stretched already (llama3 ×8 from 8192 tokens)" in context_note(resolve("Llama-3.1-8B"), 200_000)
    assert "(yarn ×32 from 4096 tokens)" in context_note(resolve("gpt-oss-20b"), 200_000)
