"""What a token reads of a model, against its publisher's count of active parameters and by definition."""

import pytest

from pennyweight.models import catalogue
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.sizes import sized_tensors, total_bytes
from pennyweight.recipes.file_types import get_file_type
from tests.models.tiny_configs import tiny_anatomy
from tests.planner.reads import active_weights, reads_per_token, total_weights


@pytest.mark.parametrize(("name", "total", "active"), [("Qwen3-30B-A3B", 30.5, 3.3), ("Mixtral-8x7B", 46.7, 12.9)])
def test_active_and_total_parameters_are_those_the_publisher_names(name: str, total: float, active: float) -> None:
    anatomy = anatomy_from_config(catalogue.get(name).fields, name=name)
    assert round(total_weights(anatomy) / 1e9, 1) == total
    assert active_weights(anatomy) / 1e9 == pytest.approx(active, abs=0.06)


def test_a_dense_token_reads_everything_but_the_embedding() -> None:
    anatomy = anatomy_from_config(catalogue.get("Qwen3-8B").fields, name="Qwen3-8B")
    tensors = sized_tensors(anatomy, get_file_type("Q4_K_M"))
    embedding = next(t.nbytes for t in tensors if t.name == "token_embd.weight")
    assert reads_per_token(anatomy, tensors).per_token == total_bytes(tensors) - embedding


def test_a_tied_embedding_is_read_as_the_output() -> None:
    anatomy = anatomy_from_config(catalogue.get("Qwen3-4B").fields, name="Qwen3-4B")
    tensors = sized_tensors(anatomy, get_file_type("Q4_K_M"))
    assert reads_per_token(anatomy, tensors).per_token == total_bytes(tensors)


@pytest.mark.parametrize("title", ["gpt-oss", "deepseek2, v3", "qwen3next", "nemotron_h_moe"])
def test_all_experts_together_make_the_whole_block(title: str) -> None:
    anatomy = tiny_anatomy(title)
    tensors = sized_tensors(anatomy)
    reads = reads_per_token(anatomy, tensors)
    for number, block in enumerate(reads.blocks):
        assert block.always + block.experts == sum(t.nbytes for t in tensors if t.block == number)
        assert block.routed == block.experts * 2 // 8
