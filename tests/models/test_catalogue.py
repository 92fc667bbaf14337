"""The catalogue: shapes that add up to the published numbers of parameters, to the last one."""

import pytest

from pennyweight.core.errors import UnknownName
from pennyweight.models import catalogue
from pennyweight.models.tensors import ROPE_FREQUENCIES, planned_tensors

PARAMETERS = {
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-4B": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.2-3B": 3_212_749_824,
    "Llama-2-7B": 6_738_415_616,
    "Llama-2-13B": 13_015_864_320,
    "Mistral-7B-v0.3": 7_248_023_552,
    "Mixtral-8x7B": 46_702_792_704,
}
"""Parameters as the publishers' safetensors count them, a tied output counted once."""


def test_every_model_has_a_published_count_to_be_checked_against() -> None:
    assert [model.name for model in catalogue.ALL] == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_tensors_add_up_to_the_published_number_of_parameters(name: str) -> None:
    tensors = planned_tensors(catalogue.get(name).config)
    assert sum(tensor.weights for tensor in tensors if tensor.name != ROPE_FREQUENCIES) == PARAMETERS[name]


def test_a_model_is_found_by_name_or_repository_in_any_case() -> None:
    assert catalogue.get("qwen3-8b") is catalogue.get("Qwen/Qwen3-8B")
    assert catalogue.get("mixtral-8x7b").repository == "mistralai/Mixtral-8x7B-v0.1"


def test_an_unknown_name_answers_with_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"did you mean .*Qwen3-8B"):
        catalogue.get("Qwen3-8")
