"""Bounds of an architecture that nobody told us, against published models whose architecture we hide."""

import pytest

from pennyweight.core.errors import FormatError
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.catalogue import PublishedModel
from pennyweight.models.config_bounds import anatomy_within_bounds
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.kv import kv_bytes
from pennyweight.planner.request import Settings
from pennyweight.planner.sizes import sized_tensors, total_bytes
from pennyweight.recipes.file_types import get_file_type

CONTEXT = Settings(context=32_768)


def weights(anatomy: Anatomy) -> int:
    return sum(tensor.weights for tensor in anatomy.tensors)


def hidden(model: PublishedModel) -> Anatomy:
    return anatomy_within_bounds(model.fields | {"architectures": ["NobodyForCausalLM"]}, name=model.name, why="hidden")


@pytest.mark.parametrize("model", catalogue.ALL, ids=lambda model: model.name)
def test_every_published_model_lies_between_the_bounds_of_its_config(model: PublishedModel) -> None:
    true, most = anatomy_from_config(model.fields, name=model.name), hidden(model)
    assert most.least is not None
    assert weights(most.least) <= weights(true) <= weights(most)
    assert kv_bytes(most.least, CONTEXT) <= kv_bytes(true, CONTEXT) <= kv_bytes(most, CONTEXT)


@pytest.mark.parametrize("name", ["Qwen3-8B", "Llama-3.1-70B", "Mixtral-8x7B", "gemma-3-27b", "DeepSeek-V3"])
def test_a_file_of_known_type_lies_between_them_too(name: str) -> None:
    model, made = catalogue.get(name), get_file_type("Q4_K_M")
    true, most = anatomy_from_config(model.fields, name=model.name), hidden(model)
    assert most.least is not None
    least, exact, largest = (total_bytes(sized_tensors(one, made)) for one in (most.least, true, most))
    assert least <= exact <= largest
    assert largest < 1.3 * exact, "a bound that says something"


def test_bounds_of_the_usual_models_are_close() -> None:
    ratios = []
    for model in catalogue.ALL:
        true, most = anatomy_from_config(model.fields, name=model.name), hidden(model)
        assert most.least is not None
        ratios.append((weights(most.least) / weights(true), weights(most) / weights(true)))
    middle = len(ratios) // 2
    assert sorted(low for low, _ in ratios)[middle] > 0.7
    assert sorted(high for _, high in ratios)[middle] < 1.1


def test_all_fields_that_bounds_need_are_named_at_once() -> None:
    with pytest.raises(FormatError, match=r"lacks hidden_size, num_attention_heads, vocab_size"):
        anatomy_within_bounds({"architectures": ["X"], "num_hidden_layers": 4}, name="x", why="unknown")


def test_what_the_config_does_not_say_is_bounded_and_named() -> None:
    fields = {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 1000}
    most = anatomy_within_bounds(fields, name="x", why="unknown")
    assert most.least is not None
    assert "does not say intermediate_size, max_position_embeddings, tie_word_embeddings" in most.notes[0]
    assert not most.known
    up = [next(t for t in one.tensors if t.name == "blk.0.ffn_up.weight").shape[0] for one in (most.least, most)]
    assert up == [2 * 1024, 8 * 1024]
    assert any(t.name == "output.weight" for t in most.tensors)
    assert not any(t.name == "output.weight" for t in most.least.tensors)


@pytest.mark.parametrize(
    "lie",
    [
        {"num_hidden_layers": 100_000},
        {"hidden_size": -1},
        {"hidden_size": "wide"},
        {"vocab_size": 1 << 40},
        {"num_attention_heads": 0},
        {"head_dim": 1.5},
        {"num_local_experts": -3},
    ],
)
def test_counts_that_cannot_be_are_refused(lie: dict[str, object]) -> None:
    fields = {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 1000}
    with pytest.raises(FormatError):
        anatomy_within_bounds(fields | lie, name="x", why="unknown")


@pytest.mark.parametrize(
    "odd",
    [
        {"layer_types": ["full_attention"]},
        {"hybrid_override_pattern": 7},
        {"mlp_only_layers": "all"},
        {"decoder_sparse_step": True, "num_experts": 4},
        {"text_config": []},
        {"sliding_window": None},
        {"num_experts": 4, "num_experts_per_tok": 9},
        {"kv_lora_rank": 64},
        {"mamba_d_state": 16},
        {"num_attention_heads": 4096},
    ],
)
def test_odd_words_of_a_config_widen_bounds_and_fail_nothing(odd: dict[str, object]) -> None:
    fields = {"hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 1000}
    most = anatomy_within_bounds(fields | odd, name="x", why="unknown")
    assert most.least is not None
    assert 0 < weights(most.least) <= weights(most)
    assert kv_bytes(most.least, CONTEXT) <= kv_bytes(most, CONTEXT)
