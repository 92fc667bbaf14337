"""Every planned architecture, held against llama.cpp: it loads what was planned, and nothing is missing or too much."""

from pathlib import Path

import pytest

from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.models import architectures
from pennyweight.models.from_gguf import anatomy_from_gguf
from pennyweight.runtimes.llama_cpp.model import Model
from tests.models.tiny_configs import CONFIGS, tiny_anatomy, write_planned_gguf


@pytest.mark.parametrize("title", CONFIGS)
def test_llama_cpp_loads_a_file_of_exactly_the_planned_tensors(title: str, tmp_path: Path) -> None:
    planned = tiny_anatomy(title)
    with Model.load(write_planned_gguf(tmp_path / "tiny.gguf", CONFIGS[title])) as model:
        assert model.facts.parameters == sum(tensor.weights for tensor in planned.tensors)


@pytest.mark.parametrize("title", CONFIGS)
def test_a_file_tells_what_its_config_told(title: str, tmp_path: Path) -> None:
    planned = tiny_anatomy(title)
    path = write_planned_gguf(tmp_path / "tiny.gguf", CONFIGS[title])
    read = anatomy_from_gguf(open_gguf(path), name=title, source="file")
    assert read.known
    assert (read.shape, read.tensors, read.blocks) == (planned.shape, planned.tensors, planned.blocks)


def test_every_architecture_has_a_small_model_here() -> None:
    named = {tiny_anatomy(title).shape.architecture for title in CONFIGS}
    assert named == {architecture.name for architecture in architectures.ALL}


def test_no_class_is_claimed_twice_but_by_a_family_with_and_without_experts() -> None:
    classes = [name for architecture in architectures.ALL for name in architecture.class_names]
    assert {name for name in classes if classes.count(name) > 1} == {"NemotronHForCausalLM"}
    names = [a.name for a in (*architectures.ALL, *architectures.READ_ONLY)]
    assert {name for name in names if names.count(name) > 1} == {"llama"}


def test_what_is_left_out_is_noted() -> None:
    assert "mmproj" in tiny_anatomy("gemma3").notes[0]
    assert "draft head (MTP) of 1 block" in tiny_anatomy("deepseek2, v3").notes[0]
    assert tiny_anatomy("llama, llama3 rope").rope_scaling == "llama3 ×8"
