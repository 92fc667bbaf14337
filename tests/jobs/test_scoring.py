"""perplexity, compare, results: what they give, what they keep, what they refuse."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import BadRequest, Differs, FormatError, OutputError, PennyweightError, UnknownName
from pennyweight.jobs.compare import compare
from pennyweight.jobs.perplexity import perplexity
from pennyweight.jobs.results import ResultsFilter, as_csv, as_json, as_markdown, export, results
from pennyweight.jobs.scoring import EvaluationOptions, identify
from tests.store.test_database import ONE
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

SHORT = EvaluationOptions(ctx=64, chunks=4, threads=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    write_tiny_gguf(directory / "base.gguf")
    write_tiny_gguf(directory / "q8.gguf", format="Q8_0")
    write_tiny_gguf(directory / "other.gguf", vocabulary=400)
    (directory / "text.txt").write_text(TINY_TEXT)
    return directory


@pytest.mark.slow
def test_perplexity_is_scored_and_kept_with_its_protocol(models: Path) -> None:
    found = perplexity(str(models / "base.gguf"), models / "text.txt", SHORT)
    assert (found.tokens, found.chunks, found.n_ctx) == (4 * 31, 4, 64)
    assert found.perplexity > 512, "random weights are surprised by every text"
    (kept,) = results().rows
    assert (kept.metric, kept.value, kept.stderr) == ("perplexity", found.perplexity, found.stderr)
    assert (kept.model, kept.type, kept.n_ctx, kept.chunks) == ("base.gguf", "F16", 64, 4)
    assert (kept.text_hash, kept.engine) == (found.text_hash, found.engine)
    assert "chunks of 64 tokens, no overlap, BOS 0 first" in kept.protocol
    assert kept.fingerprint == identify(str(models / "base.gguf")).fingerprint


@pytest.mark.slow
def test_a_stored_base_gives_what_a_live_one_gives(models: Path, tmp_path: Path) -> None:
    base, text = str(models / "base.gguf"), models / "text.txt"
    live = compare(base, str(models / "q8.gguf"), text, SHORT).divergence
    assert 0 < live.kld_mean < 0.1
    assert live.noise_floor is not None
    assert live.noise_floor < live.kld_mean / 10
    scored = perplexity(base, text, SHORT, save_base=tmp_path / "base.predictions")
    theirs = perplexity(base, text, SHORT, kl_divergence_base=tmp_path / "base.kld")
    assert scored.perplexity == pytest.approx(theirs.perplexity, rel=1e-9)
    compact = compare(str(tmp_path / "base.predictions"), str(models / "q8.gguf"), text, SHORT).divergence
    assert compact.storage_error is not None
    assert compact.kld_mean == pytest.approx(live.kld_mean, abs=compact.storage_error + 1e-7)
    assert compact.base_perplexity == pytest.approx(scored.perplexity, rel=1e-5)
    lossy = compare(str(tmp_path / "base.kld"), str(models / "q8.gguf"), text, SHORT).divergence
    assert lossy.kld_mean == pytest.approx(live.kld_mean, rel=0.1, abs=1e-3)
    assert (live.storage_error, lossy.storage_error) == (0.0, None), "of llama.cpp's file it is not known"
    kept = {row.metric: row for row in results(ResultsFilter(model="q8")).rows[-5:]}
    assert kept["kld_mean"].value == live.kld_mean
    assert kept["kld_mean"].base == identify(base).fingerprint


@pytest.mark.slow
def test_a_divergence_past_the_threshold_is_the_answer_no(models: Path) -> None:
    found = compare(str(models / "base.gguf"), str(models / "q8.gguf"), models / "text.txt", SHORT)
    found.require_within(found.divergence.kld_mean)
    with pytest.raises(Differs, match="wanted at most"):
        found.require_within(found.divergence.kld_mean / 2)


@pytest.mark.slow
def test_another_tokenizer_is_refused_with_the_reason(models: Path) -> None:
    with pytest.raises(BadRequest, match="vocabulary of 512 tokens, MODEL of 400"):
        compare(str(models / "base.gguf"), str(models / "other.gguf"), models / "text.txt", SHORT)
    assert results().rows == ()


@pytest.mark.slow
def test_a_base_of_another_text_or_context_is_refused(models: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.predictions"
    perplexity(str(models / "base.gguf"), models / "text.txt", SHORT, save_base=base)
    (tmp_path / "other.txt").write_text(TINY_TEXT[500:])
    with pytest.raises(BadRequest, match="another text or tokenizer"):
        compare(str(base), str(models / "q8.gguf"), tmp_path / "other.txt", SHORT)
    with pytest.raises(BadRequest, match="use -c 64"):
        compare(str(base), str(models / "q8.gguf"), models / "text.txt", EvaluationOptions(ctx=128, threads=1))


@pytest.mark.slow
@pytest.mark.parametrize(("text", "named"), [("", "is empty"), ("too short\n", "needs at least 128")])
def test_a_text_shorter_than_two_chunks_is_refused(text: str, named: str, models: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(BadRequest, match=named):
        perplexity(str(models / "base.gguf"), tmp_path / "text.txt", SHORT)


@pytest.mark.slow
def test_a_text_that_is_not_utf_8_is_scored_as_its_bytes(models: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(TINY_TEXT.replace("harbour", "caf\xe9").encode("latin-1"))
    found = perplexity(str(models / "base.gguf"), tmp_path / "latin.txt", SHORT)
    assert math.isfinite(found.perplexity)


def test_an_engine_that_does_not_exist_lists_those_that_do(models: Path) -> None:
    with pytest.raises(UnknownName, match=r"llama\.cpp"):
        perplexity(str(models / "base.gguf"), models / "text.txt", EvaluationOptions(engine="mlx"))


def test_both_kinds_of_base_at_once_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="one file of predictions at a time"):
        perplexity("base.gguf", "text.txt", save_base=tmp_path / "a", kl_divergence_base=tmp_path / "b")


def test_a_store_that_cannot_be_written_is_found_out_before_scoring(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PENNYWEIGHT_STORE", str(tmp_path / "file" / "store.sqlite"))
    with pytest.raises(OutputError, match="PENNYWEIGHT_STORE"):
        perplexity(str(models / "base.gguf"), models / "text.txt", SHORT)


def test_fingerprints_tell_weights_apart(models: Path, tmp_path: Path) -> None:
    prints = {identify(str(models / f"{name}.gguf")).fingerprint for name in ("base", "q8", "other")}
    assert len(prints) == 3
    write_tiny_gguf(tmp_path / "copy.gguf")
    write_tiny_gguf(tmp_path / "trained.gguf", seed=1)
    assert identify(str(tmp_path / "copy.gguf")).fingerprint == identify(str(models / "base.gguf")).fingerprint
    assert identify(str(tmp_path / "trained.gguf")).fingerprint not in prints


def test_results_are_exported_whole_in_every_form(tmp_path: Path) -> None:
    from pennyweight.store.database import open_store

    with open_store() as store:
        store.record([ONE])
    found = results()
    assert found.rows == (ONE,)
    (line,) = csv.DictReader(io.StringIO(as_csv(found)))
    assert (line["metric"], float(line["value"]), line["when"]) == (ONE.metric, ONE.value, ONE.when)
    assert json.loads(as_json(found))["rows"][0]["fingerprint"] == ONE.fingerprint
    assert "| embedded | Q4_K_M | kld_mean | 0.0123 | 0.0004 |" in as_markdown(found)
    for form in ("csv", "json", "md"):
        export(found, tmp_path / f"out.{form}")
        assert (tmp_path / f"out.{form}").stat().st_size > 100
    with pytest.raises(UnknownName, match="csv, json, md"):
        export(found, tmp_path / "out.xlsx")
    with pytest.raises(BadRequest, match="at least 1"):
        results(ResultsFilter(limit=0))


@pytest.mark.parametrize("kind", ["save_base", "kl_divergence_base"])
@pytest.mark.parametrize(
    ("target", "named"),
    [("model.gguf", "is the input"), ("text.txt", "is the input"), ("thesis.txt", "not a file of predictions")],
)
def test_predictions_never_replace_what_is_not_predictions(kind: str, target: str, named: str, tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "model.gguf")
    (tmp_path / "text.txt").write_text(TINY_TEXT)
    (tmp_path / "thesis.txt").write_text("ten years of work")
    before = (tmp_path / target).read_bytes()
    with pytest.raises(OutputError, match=named):
        perplexity(str(tmp_path / "model.gguf"), tmp_path / "text.txt", SHORT, **{kind: tmp_path / target})
    assert (tmp_path / target).read_bytes() == before


@pytest.mark.slow
def test_a_stored_base_is_scored_whole_or_not_at_all(models: Path, tmp_path: Path) -> None:
    base, text = tmp_path / "base.predictions", models / "text.txt"
    for _ in range(2):  # predictions may replace predictions
        perplexity(str(models / "base.gguf"), text, SHORT, save_base=base)
    with pytest.raises(BadRequest, match="holds 4 chunks"):
        compare(str(base), str(models / "q8.gguf"), text, EvaluationOptions(ctx=64, chunks=2, threads=1))
    assert compare(str(base), str(models / "q8.gguf"), text, SHORT).divergence.chunks == 4


def test_since_is_a_moment_or_refused() -> None:
    from pennyweight.store.database import open_store

    with open_store() as store:
        store.record([ONE])
    day = ONE.when[:10]
    for since in (day, day.replace("-", ""), f"{day} 00:00", f"{day}T02:00+02:00"):
        assert results(ResultsFilter(since=since)).rows == (ONE,)
    assert results(ResultsFilter(since="2999-01-01")).rows == ()
    with pytest.raises(BadRequest, match="'yesterday' is not a date"):
        results(ResultsFilter(since="yesterday"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [500, 520])
@pytest.mark.parametrize("engine", ["llama.cpp", pytest.param("torch", marks=pytest.mark.torch)])
def test_a_model_whose_vocabulary_and_tokenizer_disagree_is_refused_with_both_numbers(
    count: int, engine: str, models: Path, tmp_path: Path
) -> None:
    write_with_tokens(
        tmp_path / "model.gguf", models / "base.gguf", lambda t: [*t, *map("no token {}".format, range(8))][:count]
    )
    options = EvaluationOptions(ctx=64, chunks=2, threads=1, engine=engine)
    with pytest.raises(PennyweightError, match=f"512.*{count}|{count}.*512"):
        perplexity(str(tmp_path / "model.gguf"), models / "text.txt", options)


def test_two_tokens_of_one_text_are_refused_before_llama_cpp_ends_the_process(models: Path, tmp_path: Path) -> None:
    write_with_tokens(tmp_path / "model.gguf", models / "base.gguf", lambda tokens: [*tokens[:-1], tokens[40]])
    with pytest.raises(FormatError, match="tokens 40 and 511 of its vocabulary are both"):
        perplexity(str(tmp_path / "model.gguf"), models / "text.txt", SHORT)


def write_with_tokens(path: Path, model: Path, changed: Callable[[list[str]], list[str]]) -> None:
    """`model` with another list of tokens; its weights stay."""
    whole = open_gguf_checkpoint(model)
    tokens = changed(list(whole.metadata["tokenizer.ggml.tokens"].value))
    metadata = dict(whole.metadata) | {
        "tokenizer.ggml.tokens": GGUFValue.array(ValueType.STRING, tokens),
        "tokenizer.ggml.token_type": GGUFValue.array(ValueType.INT32, np.ones(len(tokens), np.int32)),
    }
    infos = [TensorInfo(name=t.name, shape=t.shape, format=formats.get(t.format)) for t in whole.tensors]
    with GGUFWriter(path, metadata, infos) as writer:
        for tensor in whole.tensors:
            writer.write_rows(tensor.name, 0, tensor.raw_rows(0, tensor.rows))
