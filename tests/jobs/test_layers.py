"""Layers for this machine's GPU: what fits where nothing was asked for, and a word where something does not."""

from pathlib import Path

import pytest

from pennyweight.cli.layers import layers
from pennyweight.core.errors import BadRequest
from pennyweight.core.units import MIB
from pennyweight.jobs.layers import layers_here
from pennyweight.jobs.speaking_options import ALL_LAYERS, SpeakingOptions
from pennyweight.runtimes.llama_cpp.placement import Gpu
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_gguf(tmp_path / "tiny.gguf", context=262_144))


def with_gpu(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    gpu = Gpu(name="CUDA0", description="NVIDIA GeForce RTX 3060", free_bytes=mib * MIB, total_bytes=12_288 * MIB)
    monkeypatch.setattr("pennyweight.jobs.layers.gpus", lambda: [gpu])
    monkeypatch.setattr("pennyweight.jobs.here.gpus", lambda: [gpu])


def test_a_machine_without_a_gpu_is_not_even_looked_at(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.jobs.layers.gpus", list)
    monkeypatch.setattr("pennyweight.jobs.layers.Fit.of", lambda *_: pytest.fail("it was opened"))
    assert layers_here(model, SpeakingOptions()).count < 0
    assert layers_here(model, SpeakingOptions(gpu_layers=7)).count == 7


def test_all_layers_go_to_a_card_with_room_and_nothing_is_said(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, 11_000)
    found = layers_here(model, SpeakingOptions())
    assert (found.count, found.notes) == (3, ()), "two blocks and the output"


def test_a_context_that_leaves_no_room_for_all_layers_moves_some_and_says_so(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch, 1_000)  # the cache of 262,144 tokens takes 256 MiB, the driver 600
    found = layers_here(model, SpeakingOptions(ctx=262_144))
    assert 0 <= found.count < 3
    assert any(f"{found.count} of 3 layers fit" in note and "-ctk" in note for note in found.notes)


@pytest.mark.parametrize("asked", [2, ALL_LAYERS])
def test_layers_that_were_asked_for_are_loaded_and_what_they_lack_is_said(
    model: str, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    with_gpu(monkeypatch, 300)
    found = layers_here(model, SpeakingOptions(gpu_layers=asked, ctx=262_144))
    assert found.count == asked
    assert any("lacks" in note and "-ngl auto" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "count"), [("auto", -1), ("-1", -1), ("ALL", 999), ("-2", 999), ("0", 0), ("99", 99), (" 12 ", 12)]
)
def test_llama_cpps_words_for_layers_mean_here_what_they_mean_there(text: str, count: int) -> None:
    assert layers(text) == count


@pytest.mark.parametrize("text", ["", "-3", "most", "1.5", "9" * 30, "٣x"])
def test_other_words_for_layers_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="-ngl"):
        layers(text)
