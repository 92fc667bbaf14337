"""Whole or block by block: the arithmetic of the choice; settings and metadata that are refused; no PyTorch at all."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, DoesNotFit, FormatError, Missing, UnknownName, UnsupportedModel
from pennyweight.models import families
from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings, memory
from pennyweight.runtimes.torch_reference.memory import Needs, schedule
from pennyweight.runtimes.torch_reference.model_config import model_config
from pennyweight.runtimes.torch_reference.settings import check_settings, device_of
from tests.checkpoints.tiny_huggingface import write_huggingface
from tests.tiny_gguf import write_tiny_gguf

NEEDS = Needs(weights=1000, largest_stage=100, group=50, carried_chunk=10)
FOUR = TorchSettings(abreast=4)


def test_a_model_that_fits_is_held_whole() -> None:
    assert not schedule(NEEDS, FOUR, 1050).blockwise


def test_a_model_larger_than_the_budget_goes_block_by_block_with_all_the_chunks_that_fit() -> None:
    found = schedule(NEEDS, FOUR, 1049)
    assert found.blockwise
    assert found.carried == (1049 - 150) // 40 * 4


def test_the_smallest_budget_carries_one_group_and_below_it_nothing_runs() -> None:
    assert schedule(NEEDS, FOUR, 190).carried == 4
    with pytest.raises(DoesNotFit, match="one block at a time takes 190 B of 189 B; use bfloat16"):
        schedule(NEEDS, FOUR, 189)


def test_a_caller_may_insist_on_either() -> None:
    assert schedule(NEEDS, replace(FOUR, blockwise=True), 10**9).blockwise
    with pytest.raises(DoesNotFit, match=r"all weights takes 1\.03 KiB of 1000 B"):
        schedule(NEEDS, replace(FOUR, blockwise=False), 1000)


def test_a_containers_limit_counts_as_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory._free_in_group(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_group(tmp_path) == memory.physical_memory()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (TorchSettings(dtype="float16"), UnknownName, "no dtype named 'float16'.*float32, bfloat16"),
        (TorchSettings(n_ctx=3), BadRequest, "a context of 3 tokens scores nothing"),
        (TorchSettings(abreast=0), BadRequest, "abreast is 0; at least 1"),
        (TorchSettings(memory_bytes=0), BadRequest, "memory is 0; at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: TorchSettings, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_settings(settings)


@pytest.mark.torch
def test_a_device_that_is_not_here_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(BadRequest, match="no device 'quantum'; wanted auto, cpu or cuda"):
        device_of(TorchSettings(device="quantum"))
    with pytest.raises(DoesNotFit, match="cuda:99: PyTorch sees"):
        device_of(TorchSettings(device="cuda:99"))


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(write_tiny_gguf(tmp_path / "tiny.gguf")))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"needs torch and transformers: pip install 'pennyweight\[torch\]'"):
        TorchLogits(checkpoint)


def test_importing_the_engine_imports_no_pytorch() -> None:
    code = "import pennyweight.runtimes.torch_reference, sys; print({'torch', 'transformers'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({"architecture": "llama"}, families.LLAMA),
        ({"architecture": "llama", "experts": 4}, families.MIXTRAL),
        ({"architecture": "qwen2"}, families.QWEN2),
        ({"architecture": "qwen3"}, families.QWEN3),
        ({"architecture": "qwen3moe", "experts": 4}, families.QWEN3_MOE),
    ],
)
def test_the_family_follows_from_the_metadata(changes: dict, family: families.Family, tmp_path: Path) -> None:
    config = model_config(open_checkpoint(str(write_tiny_gguf(tmp_path / "tiny.gguf", **changes))))
    assert config.family is family
    assert (config.block_count, config.embedding_length, config.head_length) == (2, 256, 64)
    assert (config.expert_count, config.expert_used_count) == ((4, 2) if config.expert_count else (0, 0))


@pytest.mark.parametrize(
    "scaling", [None, {"rope_type": "linear", "factor": 4.0}, {"rope_type": "yarn", "factor": 4.0}]
)
@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3_moe"])
def test_a_directorys_metadata_gives_back_its_configuration(
    model_type: str, scaling: dict | None, tmp_path: Path
) -> None:
    checkpoint = open_checkpoint(str(write_huggingface(tmp_path / "model", model_type, rope_scaling=scaling)))
    config = model_config(checkpoint)
    assert config.family.model_type == model_type
    assert config.rope.kind == (scaling or {}).get("rope_type", "default")
    assert config.rope.factor == (scaling or {}).get("factor")
    assert config.rope.theta == 10_000.0
    assert not config.tied
    assert config.rms_norm_epsilon == pytest.approx(1e-5, rel=1e-7)


def test_metadata_that_no_model_has_is_refused(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(write_huggingface(tmp_path / "model")))

    def changed(**keys: object) -> object:
        metadata = dict(checkpoint.metadata)
        for key, value in keys.items():
            key = f"llama.{key}".replace("__", ".")
            metadata[key] = replace(metadata[key], value=value)
        return model_config(replace(checkpoint, metadata=metadata))

    with pytest.raises(FormatError, match="4 heads over 3 key-value heads"):
        changed(attention__head_count_kv=3)
    with pytest.raises(FormatError, match=r"rope\.freq_base is nan; wanted a number"):
        changed(rope__freq_base=float("nan"))
    experts = open_checkpoint(str(write_huggingface(tmp_path / "experts", "mixtral")))
    many = dict(experts.metadata) | {
        "llama.expert_count": replace(experts.metadata["llama.expert_count"], value=1 << 31)
    }
    with pytest.raises(FormatError, match="2 of 2147483648 experts per token; wanted at most 512"):
        model_config(replace(experts, metadata=many))
    with pytest.raises(UnsupportedModel, match="keys of 16 and values of 8"):
        changed(attention__key_length=16)
    with pytest.raises(UnsupportedModel, match="4 of 8 numbers of a head are rotated"):
        changed(rope__dimension_count=4)
