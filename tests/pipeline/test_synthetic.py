"""Synthetic models: the real file's tensors to the byte, ordinary numbers in llama.cpp, the real model's speed."""

import dataclasses
import hashlib
import shutil
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.checkpoints.json_file import read_json
from pennyweight.core.errors import OutputError, UnsupportedModel
from pennyweight.evaluation import throughput
from pennyweight.evaluation.importance import collect_imatrix
from pennyweight.jobs.quantize import quantize
from pennyweight.models import catalogue
from pennyweight.models.config import ModelConfig, config_from_json
from pennyweight.models.embedded import EMBEDDED
from pennyweight.models.rope import frequency_factors
from pennyweight.pipeline import synthetic
from pennyweight.pipeline.synthetic import (
    random_pool,
    synthetic_gguf,
    synthetic_metadata,
    synthetic_tensors,
    write_synthetic,
)
from pennyweight.recipes.file_types import ALL, get_file_type
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model
from pennyweight.runtimes.speed import SpeedSettings
from tests.checkpoints.tiny_huggingface import CLASSES, config

GGUF_FORMATS = [format.name for format in formats.ALL if format.ggml_type is not None]


def tiny(model_type: str) -> ModelConfig:
    """Three blocks, every row whole blocks of 256."""
    wide = {"hidden_size": 256, "head_dim": 64, "intermediate_size": 512, "vocab_size": 512, "num_hidden_layers": 3}
    return config_from_json(config(model_type, **wide, moe_intermediate_size=256))


@pytest.mark.parametrize("name", GGUF_FORMATS)
def test_a_pool_holds_valid_blocks_of_the_asked_spread(name: str) -> None:
    format = formats.get(name)
    pool = random_pool(format, 0.02, 1 << 20, np.random.default_rng(0))
    assert len(pool) >= 1 << 20
    assert len(pool) % format.block_bytes == 0
    weights = format.decode(pool[: 256 * format.row_bytes(256)].reshape(256, -1))
    assert np.isfinite(weights).all()
    assert weights.std() == pytest.approx(0.02, rel=0.1)
    assert abs(weights.mean()) < 0.001
    assert len(np.unique(weights, axis=0)) > 100, "different pieces follow each other"


@pytest.mark.parametrize("file_type", ["Q4_K_M", "Q2_K", "IQ4_XS", "BF16"])
def test_tensors_shapes_and_formats_are_those_quantize_gives_the_real_model(file_type: str) -> None:
    real = quantize("embedded", file_type, None, dry_run=True)
    config = config_from_json(read_json(EMBEDDED / "config.json"))
    type = get_file_type(file_type)
    infos = synthetic_tensors(config, synthetic_metadata(config, "embedded", type), type)
    assert {info.name: info.format.name for info in infos} == real.tensors
    assert [info.name for info in infos] == list(real.tensors)
    assert 8 * sum(info.nbytes for info in infos) / real.weights == pytest.approx(real.bits_per_weight)


def test_equal_arguments_give_equal_bytes_and_another_seed_others(tmp_path: Path) -> None:
    hashes = []
    for seed in (0, 0, 1):
        size = write_synthetic(tmp_path / "m.gguf", tiny("qwen3"), "tiny", get_file_type("Q8_0"), seed)
        data = (tmp_path / "m.gguf").read_bytes()
        assert len(data) == size
        hashes.append(hashlib.sha256(data).hexdigest())
    assert hashes[0] == hashes[1] != hashes[2]


def test_llama_3_gets_its_real_frequency_factors_and_norms_change_nothing(tmp_path: Path) -> None:
    config = dataclasses.replace(
        catalogue.get("Llama-3.2-1B").config,
        block_count=1,
        embedding_length=256,
        feed_forward_length=256,
        head_count=4,
        head_count_kv=2,
        vocabulary_size=64,
    )
    write_synthetic(tmp_path / "m.gguf", config, "tiny", get_file_type("F16"))
    tensors = {t.name: t for t in open_gguf_checkpoint(tmp_path / "m.gguf").tensors}
    factors = tensors["rope_freqs.weight"].read_rows(0, 1)[0]
    assert np.array_equal(factors, frequency_factors(config.rope, 64))
    assert (tensors["blk.0.attn_norm.weight"].read_rows(0, 1) == 1).all()


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    config = catalogue.get("Mistral-7B-v0.3").config
    with pytest.raises(OutputError, match=r"needs 4\.\d+ GiB, but .* has 1\.00 GiB free"):
        write_synthetic(tmp_path / "m.gguf", config, "Mistral", get_file_type("Q4_K_M"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_temporary_disk_says_how_to_take_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OutputError, match="TMPDIR"), synthetic_gguf(tiny("llama"), "tiny", get_file_type("Q4_0")):
        pass


def test_a_vocabulary_larger_than_any_is_refused_before_it_is_made() -> None:
    with pytest.raises(UnsupportedModel, match="vocabulary of 2147483647"):
        synthetic_metadata(dataclasses.replace(tiny("llama"), vocabulary_size=2**31 - 1), "huge", get_file_type("Q4_0"))


def test_the_model_is_removed_afterwards_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with synthetic_gguf(tiny("llama"), "tiny", get_file_type("Q4_0")) as path:
        assert path.name == "tiny-Q4_0.gguf"
        assert path.stat().st_size > 0
    assert list(tmp_path.iterdir()) == []

    def interrupted() -> None:
        with synthetic_gguf(tiny("llama"), "tiny", get_file_type("Q4_0")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_row_longer_than_the_pool_still_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "POOL_BYTES", 1024)
    write_synthetic(tmp_path / "m.gguf", tiny("llama"), "tiny", get_file_type("F32"))
    down = next(t for t in open_gguf_checkpoint(tmp_path / "m.gguf").tensors if t.name == "blk.0.ffn_down.weight")
    assert down.columns * 4 > 1024
    assert down.read_rows(0, down.rows).std() == pytest.approx(0.02, rel=0.1)


def _logits(path: Path, tokens: np.ndarray) -> np.ndarray:
    with Model.load(path) as model, Context(model, ContextSettings(n_ctx=64, threads=1)) as context:
        context.decode(tokens, np.arange(len(tokens)))
        return context.logits().copy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "file_type"),
    [(kind, "Q4_K_M") for kind in CLASSES] + [("qwen3", file_type.name) for file_type in ALL],
)
def test_llama_cpp_runs_it_with_ordinary_numbers_that_differ_from_token_to_token(
    model_type: str, file_type: str, tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "m.gguf", tiny(model_type), model_type, get_file_type(file_type))
    logits = _logits(tmp_path / "m.gguf", np.arange(16) * 7 + 3)
    assert np.isfinite(logits).all()
    assert 0.05 < logits.std() < 50
    assert np.abs(np.corrcoef(logits)[np.triu_indices(16, 1)]).mean() < 0.2


@pytest.mark.slow
def test_a_deep_expert_model_reads_all_its_experts(tmp_path: Path) -> None:
    # Wide and deep enough for attention to make all tokens alike, were their embeddings small.
    deep = dataclasses.replace(
        tiny("qwen3_moe"),
        block_count=32,
        embedding_length=1024,
        head_count=32,
        head_count_kv=4,
        expert_count=32,
        expert_used_count=4,
        expert_feed_forward_length=32,
    )
    write_synthetic(tmp_path / "m.gguf", deep, "deep", get_file_type("Q4_0"))
    tokens = np.random.default_rng(0).integers(0, 512, (1, 256), dtype=np.int32)
    with Model.load(tmp_path / "m.gguf") as model:
        found = collect_imatrix(model, tokens, "random", process_output=False, threads=1, advance=lambda n: None)
    last = found.entries["blk.31.ffn_down_exps.weight"].counts
    assert (last > 0).sum() == 32
    assert last.max() < 3 * last.mean()


@pytest.mark.slow
def test_random_weights_are_as_fast_as_the_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Processor time of one thread: other programs on the machine do not show in it.
    monkeypatch.setattr(throughput.time, "perf_counter", time.thread_time)
    quantize("embedded", "Q4_K_M", tmp_path / "real.gguf")
    config = config_from_json(read_json(EMBEDDED / "config.json"))
    write_synthetic(tmp_path / "synthetic.gguf", config, "embedded", get_file_type("Q4_K_M"))
    settings = SpeedSettings(prompt_tokens=128, generated_tokens=32, repetitions=3, threads=1)
    ratios: dict[str, list[float]] = {"pp128": [], "tg32": []}
    for _ in range(4):
        speeds = [throughput.measure_speed(tmp_path / f"{it}.gguf", settings).speeds for it in ("real", "synthetic")]
        for a, b in zip(*speeds, strict=True):
            ratios[a.test].append(b.mean / a.mean)
    for test, found in ratios.items():
        assert statistics.median(found) == pytest.approx(1, abs=0.15), test
