"""Every planned architecture, held against llama.cpp: it loads what was planned, and nothing is missing or too much."""

from pathlib import Path

import pytest

from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.models import architectures, catalogue
from pennyweight.models.anatomy import Block, Keeps
from pennyweight.models.describe import anatomy_from_config, draft_head
from pennyweight.models.from_gguf import anatomy_from_gguf
from pennyweight.runtimes.llama_cpp.model import Model
from tests.models.tiny_configs import CONFIGS, tiny_anatomy, write_planned_gguf
from tests.planner.llama_log import model_buffer_mib


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


DRAFTED = [title for title, config in CONFIGS.items() if draft_head(config)]


@pytest.mark.parametrize("title", DRAFTED)
def test_a_file_with_its_draft_head_is_loaded_without_it(title: str, tmp_path: Path) -> None:
    config, planned = CONFIGS[title], tiny_anatomy(title)
    paths = [write_planned_gguf(tmp_path / f"{head}.gguf", config, with_draft=head) for head in (False, True)]
    plain, drafting = (model_buffer_mib(path) for path in paths)
    assert drafting == plain > 0, "llama.cpp leaves the head in the file"
    with Model.load(paths[1]) as model:
        tensors = (*planned.tensors, *draft_head(config))
        assert model.facts.parameters == sum(tensor.weights for tensor in tensors)
    read = anatomy_from_gguf(open_gguf(paths[1]), name=title, source="file")
    assert read.blocks == (*planned.blocks, Block(keeps=Keeps.NOTHING))


DRAFT_WEIGHTS = {
    "Qwen3.5-2B": 60_828_160,
    "Qwen3.5-4B": 120_599_552,
    "Qwen3.8-27B": 27_320_697_856 - 26_895_998_464,
    "Qwen3.5-122B-A10B": 124_635_206_144 - 122_111_526_912,
    "Qwen3.5-397B-A17B": 6_595_568_128,
}
"""As safetensors headers (2B, 4B, 397B) or llama.cpp's loader with and without it (27B, 122B) count them."""


@pytest.mark.parametrize("name", DRAFT_WEIGHTS)
def test_the_draft_head_that_is_left_out_has_as_many_weights_as_published(name: str) -> None:
    fields = catalogue.get(name).fields
    assert sum(tensor.weights for tensor in draft_head(fields)) == DRAFT_WEIGHTS[name]
    assert f"of {DRAFT_WEIGHTS[name] / 1e6:,.0f} million" in anatomy_from_config(fields, name=name).notes[-1]


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
    assert [note.split(" ", 3)[1] for note in tiny_anatomy("qwen35").notes] == ["vision", "draft"]
    assert tiny_anatomy("llama, llama3 rope").rope_scaling == "llama3 ×8"
