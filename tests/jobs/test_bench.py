"""bench: what MODEL may be, and that a synthetic model leaves nothing behind."""

import json
import math
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.jobs.bench import bench, named_config
from pennyweight.jobs.results import results
from pennyweight.runtimes.speed import SpeedSettings
from tests.checkpoints.tiny_huggingface import config
from tests.runtimes.test_llama_server import put_on_path as on_path
from tests.runtimes.test_llama_tools import TESTS, put_on_path
from tests.tiny_gguf import write_tiny_gguf

SHORT = SpeedSettings(prompt_tokens=8, generated_tokens=2, repetitions=2, threads=1)


def test_a_name_is_the_embedded_model_a_config_or_a_published_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config("qwen3", vocab_size=1234)))
    assert named_config(str(tmp_path)).vocabulary_size == 1234
    assert named_config(str(tmp_path / "config.json")).vocabulary_size == 1234
    assert named_config("embedded").vocabulary_size == 4096
    assert named_config("Qwen3-8B").block_count == 36


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("Qwen3-8B", BadRequest, "NAME:TYPE"),
        (":Q4_K_M", BadRequest, "NAME:TYPE"),
        ("Qwen3-8B:Q4_K_X", UnknownName, "Q4_K_M"),
        ("Qwen3-9B:Q4_K_M", UnknownName, "Qwen3-8B"),
    ],
)
def test_a_synthetic_model_needs_a_known_name_and_type(model: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        bench(model, SHORT, synthetic=True)


def test_a_published_name_without_synthetic_says_what_to_do() -> None:
    with pytest.raises(BadRequest, match="--synthetic"):
        bench("Qwen3-8B:Q4_K_M", SHORT)


def test_an_unknown_runtime_lists_those_there_are() -> None:
    with pytest.raises(UnknownName, match=r"llama\.cpp, llama-bench"):
        bench("embedded", SHORT, runtime="vllm")


def test_a_synthetic_model_is_given_to_llama_bench_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = put_on_path(tmp_path, monkeypatch, prints=json.dumps(TESTS))
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(models))
    result = bench("embedded:Q8_0", SHORT, synthetic=True, runtime="llama-bench")
    assert json.loads(seen.read_text())[1].endswith("-Q8_0.gguf")
    assert list(models.iterdir()) == []
    assert result.synthetic
    assert {(row.runtime, row.build, row.instruction_set) for row in result.rows} == {
        ("llama-bench", "b11549 (abc1234)", "not reported")
    }


@pytest.mark.slow
def test_a_synthetic_model_is_off_the_disk_before_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    during: list[list[Path]] = []
    monkeypatch.setattr("pennyweight.jobs.bench.total_tokens", lambda settings: 1)
    from pennyweight.jobs import bench as job

    measure = job.model_speed

    def watch(*arguments, **named):
        during.append([path for path in tmp_path.rglob("*") if path.is_file()])
        return measure(*arguments, **named)

    monkeypatch.setattr(job, "model_speed", watch)
    result = bench("embedded:Q4_K_M", SHORT, synthetic=True)
    assert during == [[]]
    assert list(tmp_path.iterdir()) == []
    assert [row.test for row in result.rows] == ["pp8", "tg2"]


@pytest.mark.slow
def test_a_real_file_is_measured_and_stays(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    result = bench(str(path), SHORT)
    assert path.exists()
    assert (result.synthetic, result.runtime, result.threads) == (False, "llama.cpp", 1)
    assert result.bytes < path.stat().st_size
    assert all(len(row.samples) == 2 and row.tokens_per_second > 0 for row in result.rows)


@pytest.mark.slow
@pytest.mark.parametrize("synthetic", [False, True])
def test_speeds_go_into_the_store_with_all_that_made_them(synthetic: bool, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    asked = "embedded:Q4_K_M" if synthetic else str(path)
    found = bench(asked, SHORT, synthetic=synthetic)
    kept = {row.metric: row for row in results().rows}
    assert {metric: row.value for metric, row in kept.items()} == {
        "prompt_tok_s": found.rows[0].tokens_per_second,
        "decode_tok_s": found.rows[1].tokens_per_second,
    }
    row, shown = kept["decode_tok_s"], found.rows[1]
    assert row.model == ("embedded (synthetic)" if synthetic else "tiny.gguf")
    assert row.type == ("Q4_K_M" if synthetic else "F16")
    assert row.bytes == found.bytes
    assert row.stderr == pytest.approx(shown.stdev / math.sqrt(2))
    assert row.engine == f"llama.cpp {shown.build} ({shown.instruction_set})"
    assert row.protocol.startswith("llama-bench: tg2, 2 repetitions, 1 threads, CPU, F16 KV")
    assert ("random weights" in row.protocol) == synthetic
    assert row.seed == (0 if synthetic else None)
    assert "cores" in row.hardware


def test_a_context_beyond_the_trained_one_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(tmp_path, monkeypatch)
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    long = SpeedSettings(prompt_tokens=2048, generated_tokens=2, repetitions=1, threads=1)
    (note,) = bench(str(path), long, runtime="llama-server").notes
    assert "2,048 tokens are more than the model's context of 1,024" in note
    assert bench(str(path), SHORT, runtime="llama-server").notes == ()


def test_a_synthetic_model_is_given_to_llama_server_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path, monkeypatch)
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(models))
    result = bench("embedded:Q8_0", SHORT, synthetic=True, runtime="llama-server")
    assert list(models.iterdir()) == []
    assert {(row.runtime, row.build, row.instruction_set) for row in result.rows} == {
        ("llama-server", "b11549-abc1234", "not reported")
    }
    assert {row.engine for row in results().rows} == {"llama-server b11549-abc1234 (not reported)"}
