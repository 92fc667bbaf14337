"""sweep and demo: every level measured on one text, resumed, refused where there is nothing to measure."""

import json
import os
import shutil
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest

from pennyweight.core.errors import BadRequest, OutputError, UnknownName
from pennyweight.evaluation.sweep import SweepRow
from pennyweight.jobs import demo as demo_module
from pennyweight.jobs import level as level_module
from pennyweight.jobs import measure_level as measuring
from pennyweight.jobs.demo import LAYER_WEIGHTS, LAYERS, LEAST_BITS, synthetic_config, synthetic_layers
from pennyweight.jobs.level import Level, Made
from pennyweight.jobs.measure_level import Extras
from pennyweight.jobs.results import ResultsFilter, results
from pennyweight.jobs.scoring import EvaluationOptions
from pennyweight.jobs.sweep import SweepOptions, file_type_levels, sweep, sweep_with
from pennyweight.jobs.sweep_directory import UNFINISHED, sweep_directory
from pennyweight.models.embedded import EMBEDDED, SURVEY
from pennyweight.models.tensors import planned_tensors
from pennyweight.runtimes.speed import SpeedSettings
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

SHORT = EvaluationOptions(ctx=64, chunks=6, threads=1)
QUIET = SweepOptions(types=("Q8_0", "Q4_K_M", "Q2_K"), evaluation=SHORT, speed=None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("place")
    write_tiny_gguf(directory / "tiny.gguf")
    (directory / "text.txt").write_text(TINY_TEXT)
    return directory


@pytest.mark.slow
def test_levels_are_measured_ordered_kept_and_not_measured_twice(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text, output = str(place / "tiny.gguf"), place / "text.txt", tmp_path / "out"
    found = sweep(model, text, output, QUIET)
    assert [row.type for row in found.rows] == list(QUIET.types)
    assert found.rows[0].kld_mean < found.rows[1].kld_mean < found.rows[2].kld_mean
    assert found.rows[0].bytes > found.rows[1].bytes > found.rows[2].bytes
    assert (found.provenance.chunks, found.provenance.tokens) == (6, 6 * 31)
    assert found.base.type == "F16"
    assert found.base.noise_floor is not None
    for row in found.rows:
        assert row.decode_tok_s is None
        assert Path(row.output or "").stat().st_size == row.bytes
    assert {path.name for path in output.iterdir()} >= {"report.html", "sweep.md", "sweep.csv", "sweep.json"}
    kept = results(ResultsFilter(metric="kld_mean", model="tiny")).rows
    assert {row.type: row.value for row in kept} == {row.type: row.kld_mean for row in found.rows}

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(level_module, "quantize", refuse)
    monkeypatch.setattr(measuring, "logits_engine", refuse)
    again = sweep(model, text, output, QUIET)
    assert again.rows == found.rows
    assert again.base == found.base
    assert len(results(ResultsFilter(metric="kld_mean")).rows) == 3, "a row that was found is not a new measurement"


@pytest.mark.slow
def test_a_level_that_fails_does_not_lose_the_others(place: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny-Q4_K_M.gguf").mkdir()  # in the way of the second level's file
    found = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, QUIET)
    assert [row.type for row in found.rows] == ["Q8_0", "Q2_K"]
    assert [failure.type for failure in found.failures] == ["Q4_K_M"]
    assert "Q4_K_M failed: " in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "sweep.json").read_text())["failures"][0]["type"] == "Q4_K_M"


@pytest.mark.slow
def test_speeds_are_of_the_files_and_files_go_where_asked(place: Path, tmp_path: Path) -> None:
    timing = SpeedSettings(prompt_tokens=16, generated_tokens=4, repetitions=2, threads=1)
    options = SweepOptions(types=("q8_0",), evaluation=SHORT, speed=timing, keep_files=False)
    heard: list[tuple[SweepRow, bool]] = []
    found = sweep(
        str(place / "tiny.gguf"), place / "text.txt", tmp_path, options, on_row=lambda *row: heard.append(row)
    )
    (row,) = found.rows
    assert heard == [(row, True)]
    assert row.decode_tok_s is not None
    assert row.decode_tok_s > 0
    assert row.synthetic is None
    assert row.output is None
    assert not list(tmp_path.glob("*.gguf"))
    assert (tmp_path / "speed.svg").exists()
    (kept,) = results(ResultsFilter(metric="decode_tok_s")).rows
    assert kept.value == row.decode_tok_s
    assert kept.stderr == pytest.approx((row.decode_stdev or 0) / sqrt(2))
    assert kept.protocol == "llama-bench: tg4, 2 repetitions, 1 threads, CPU, F16 KV"
    assert (kept.text_hash, kept.n_ctx, kept.chunks, kept.seed) == (None, None, None, None)


@pytest.mark.slow
def test_another_text_is_another_sweep_in_the_same_directory(place: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(TINY_TEXT[700:])
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT, speed=None)
    first = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path / "out", one)
    second = sweep(str(place / "tiny.gguf"), tmp_path / "other.txt", tmp_path / "out", one)
    assert first.rows[0].perplexity != second.rows[0].perplexity


@pytest.mark.slow
def test_extras_are_in_the_rows(place: Path, tmp_path: Path) -> None:
    extras = Extras(key="text", write=lambda path: f"written by {path.name}")
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT)
    model = str(place / "tiny.gguf")
    found = sweep_with(file_type_levels(model, one), extras, model, place / "text.txt", tmp_path, one)
    assert found.rows[0].text == "written by tiny-Q8_0.gguf"


@pytest.mark.parametrize(
    ("types", "error", "named"),
    [
        (("Q4_K_X",), UnknownName, "Q4_K_M"),
        (("Q8_0", "q8_0"), BadRequest, "Q8_0 is asked for twice"),
        ((), BadRequest, "no level"),
    ],
)
def test_levels_that_cannot_be_are_refused_before_anything_is_made(
    types: tuple[str, ...], error: type[Exception], named: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=named):
        sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path / "out", SweepOptions(types=types))
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_quantized_already_is_refused(place: Path, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "q8.gguf", format="Q8_0")
    with pytest.raises(BadRequest, match="is quantized already"):
        sweep(str(path), place / "text.txt", tmp_path / "out", QUIET)


def test_a_directory_that_cannot_be_made_is_refused(place: Path) -> None:
    with pytest.raises(OutputError, match="cannot make the directory"):
        sweep(str(place / "tiny.gguf"), place / "text.txt", place / "text.txt" / "out", QUIET)


@pytest.mark.slow
def test_the_demo_writes_a_line_at_each_level_and_says_that_its_speeds_are_synthetic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_module, "LAYERS", (1, 1))
    monkeypatch.setattr(
        demo_module, "SPEED", SpeedSettings(prompt_tokens=8, generated_tokens=2, repetitions=1, threads=1)
    )
    small = SweepOptions(types=("Q8_0", "Q2_K"), evaluation=EvaluationOptions(chunks=2, threads=1))
    monkeypatch.setattr(demo_module, "SweepOptions", lambda: small)
    found = demo_module.demo(tmp_path)
    for row in found.rows:
        assert (row.text or "").startswith(demo_module.PROMPT)
        assert len(row.text or "") > len(demo_module.PROMPT)
        assert row.synthetic is not None
        assert "last-level cache" in row.synthetic
        assert row.decode_tok_s is not None
        assert row.speed_bytes != row.bytes
    page = (tmp_path / "report.html").read_text()
    assert "The same beginning, continued" in page
    assert "are of a synthetic model" in page
    assert results(ResultsFilter(metric="decode_tok_s")).rows == (), "a synthetic speed is not this model's"


def test_the_demo_s_speeds_come_from_a_model_larger_than_the_cache() -> None:
    for cache in (8 << 20, 32 << 20, 96 << 20):
        layers = synthetic_layers(cache)
        assert layers * LAYER_WEIGHTS * LEAST_BITS / 8 >= 2 * cache
    assert synthetic_layers(0) == LAYERS[0]
    assert synthetic_layers(1 << 40) == LAYERS[1]
    config = synthetic_config(2)
    matrices = [t for t in planned_tensors(config) if t.name.startswith("blk.1.") and len(t.shape) == 2]
    assert sum(t.shape[0] * t.shape[1] for t in matrices) == LAYER_WEIGHTS


@pytest.mark.slow
def test_files_that_no_sweep_wrote_stay(place: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "tiny-Q8_0.gguf"
    theirs.write_text("somebody's only copy")
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT, speed=None)
    with pytest.raises(OutputError, match="not of this directory's sweeps"):
        sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, one)
    sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, replace(one, keep_files=False))
    assert theirs.read_text() == "somebody's only copy"
    assert not list(tmp_path.glob(".pennyweight-unfinished-*"))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_a_failed_level_leaves_no_file(keep: bool, place: Path, tmp_path: Path) -> None:
    def fail(path: Path) -> str:
        assert path.exists()
        raise BadRequest("cannot write")

    model, one = str(place / "tiny.gguf"), SweepOptions(types=("Q8_0",), evaluation=SHORT, keep_files=keep)
    fails = Extras(key="fails", write=fail)
    with pytest.raises(BadRequest, match="cannot write"):
        sweep_with(file_type_levels(model, one), fails, model, place / "text.txt", tmp_path, one)
    assert not list(tmp_path.rglob("*.gguf"))


@pytest.mark.slow
def test_damaged_base_predictions_are_computed_again(place: Path, tmp_path: Path) -> None:
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT, speed=None)
    first = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, one)
    (stored,) = tmp_path.glob("base-*.predictions")
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").mkdir()
    stored.rename(tmp_path / "other" / stored.name)
    again = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path / "other", one)
    assert again.rows[0].kld_mean == first.rows[0].kld_mean
    assert (tmp_path / "other" / stored.name).read_bytes() == whole


@pytest.mark.slow
def test_sweeps_of_two_models_never_share_a_directory(place: Path, tmp_path: Path) -> None:
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT, speed=None)
    sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path / "out", one)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "other").mkdir()
    namesake = write_tiny_gguf(tmp_path / "other" / "tiny.gguf", seed=1)
    with pytest.raises(BadRequest, match="holds a sweep of another model"):
        sweep(str(namesake), place / "text.txt", tmp_path / "out", one)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_two_sweeps_never_write_into_one_directory_at_once(place: Path, tmp_path: Path) -> None:
    with (
        sweep_directory(tmp_path, "tiny.gguf", "ab" * 32),
        pytest.raises(OutputError, match="another sweep is writing into"),
    ):
        sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, QUIET)


def test_what_a_killed_sweep_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / f"{UNFINISHED}x1"
    left.mkdir()
    (left / "half.gguf").touch()
    (tmp_path / "unfinished-novel").mkdir()
    with sweep_directory(tmp_path, "tiny.gguf", "ab" * 32) as directory:
        assert os.listdir(directory.path) == ["unfinished-novel"]


@pytest.mark.slow
def test_a_level_whose_file_is_gone_is_made_again(place: Path, tmp_path: Path) -> None:
    one = SweepOptions(types=("Q8_0",), evaluation=SHORT, speed=None)
    first = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, one)
    file = Path(first.rows[0].output or "")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    for _ in range(2):
        again = sweep(str(place / "tiny.gguf"), place / "text.txt", tmp_path, one)
        assert file.read_bytes() == whole
        assert again.rows[0].kld_mean == first.rows[0].kld_mean
        file.unlink()


@pytest.mark.slow
@pytest.mark.torch
def test_a_level_may_be_a_directory_that_the_torch_engine_scores_beside_a_file_type(tmp_path: Path) -> None:
    made: list[Path] = []

    def copy(path: Path) -> Made:
        shutil.copytree(EMBEDDED, path)
        made.append(path)
        return Made(bytes=100, bits_per_weight=16.0, weights=10, seconds=1.0)

    options = SweepOptions(types=("Q8_0",), evaluation=EvaluationOptions(ctx=64, chunks=3, threads=1))
    recipe = Level(name="copy:BF16 (all)", make=copy, suffix="", key="seed 1", engine="torch")
    levels = [*file_type_levels("embedded", options), recipe]
    extras = Extras(key="", write=lambda path: path.suffix)
    for turn in range(2):
        found = sweep_with(levels, extras, "embedded", SURVEY, tmp_path, options)
        assert found.failures == ()
        file, directory = found.rows
        assert (file.type, directory.type) == ("Q8_0", "copy:BF16 (all)")
        assert Path(directory.output or "") == tmp_path / "embedded-copy_BF16_all_"
        assert (tmp_path / "embedded-copy_BF16_all_" / "config.json").exists()
        assert directory.kld_mean < 1e-6, (
            "a copy differs from its base by what storing the base costs, in its own engine"
        )
        assert file.engine.startswith("llama.cpp")
        assert directory.engine.startswith("torch")
        assert (file.text, directory.text) == (".gguf", None)
        assert len(made) == 1 + turn
        shutil.rmtree(directory.output or "")  # so that the second turn makes it again
    assert results(ResultsFilter(type="copy:BF16 (all)", metric="kld_mean")).rows
