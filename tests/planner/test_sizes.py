"""Exact bytes of tensors: against published files' sizes and llama.cpp's own quantized embedded model."""

from pennyweight.models import catalogue
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.sizes import bits_per_weight, sized_tensors, total_bytes
from pennyweight.recipes.file_types import get_file_type


def test_qwen3_8b_q4_k_m_to_the_byte_of_its_tensors() -> None:
    model = catalogue.get("Qwen3-8B")
    tensors = sized_tensors(anatomy_from_config(model.fields, name=model.name), get_file_type("Q4_K_M"))
    assert total_bytes(tensors) == 5_021_827_072
    assert round(bits_per_weight(tensors), 2) == 4.9
