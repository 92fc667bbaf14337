"""Perplexity: llama-perplexity's protocol, held to a slow computation, with and without a model."""

import math
from pathlib import Path

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, BadWeights
from pennyweight.evaluation.engine import cut, read_text, shared_chunks, targets, with_bos
from pennyweight.evaluation.perplexity import Overheard, mean_and_stderr, perplexity, perplexity_of_chunks
from pennyweight.evaluation.softmax import row_sums
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.logits import LlamaCppLogits
from tests.evaluation.array_engine import ArrayEngine, array_engine, log_softmax, near
from tests.tiny_forward import forward
from tests.tiny_gguf import TINY_TEXT, TinyShape, write_tiny_gguf


def test_perplexity_is_that_of_the_definition() -> None:
    engine = array_engine()
    nll = []
    for chunk in range(7):
        for position in range(8, 15):  # n_ctx // 2 … n_ctx - 2
            row = [float(x) for x in engine.logits[chunk, position - 8]]
            came = int(engine.tokens[chunk * 16 + position + 1])
            nll.append(math.log(math.fsum(math.exp(x) for x in row)) - row[came])
    mean = math.fsum(nll) / len(nll)
    variance = math.fsum(x * x for x in nll) / len(nll) - mean * mean
    found = perplexity(engine, b"")
    assert (found.tokens, found.chunks, found.n_ctx, found.bos, found.engine) == (49, 7, 16, 0, "an array")
    assert found.perplexity == pytest.approx(math.exp(mean), rel=1e-6)
    assert found.stderr == pytest.approx(math.exp(mean) * math.sqrt(variance / 48), rel=1e-6)
    np.testing.assert_allclose(found.nll, nll, rtol=1e-6)


def test_a_chunk_of_512_scores_255_tokens() -> None:
    assert targets(np.zeros((3, 512), np.int32)).shape == (3, 255)
    assert targets(np.arange(10, dtype=np.int32).reshape(2, 5)).tolist() == [[3, 4], [8, 9]]


def test_bos_replaces_the_first_token_of_each_chunk_only_where_the_model_adds_it() -> None:
    chunks = np.arange(8, dtype=np.int32).reshape(2, 4) + 10
    assert with_bos(chunks, 1).tolist() == [[1, 11, 12, 13], [1, 15, 16, 17]]
    assert with_bos(chunks, None) is chunks
    assert chunks[0, 0] == 10


def test_chunks_do_not_overlap_and_the_rest_is_dropped() -> None:
    assert cut(np.arange(23, dtype=np.int32), 5).tolist() == np.arange(20).reshape(4, 5).tolist()
    assert cut(np.arange(23, dtype=np.int32), 5, limit=2).shape == (2, 5)
    assert cut(np.arange(23, dtype=np.int32), 5, limit=99).shape == (4, 5)


def test_a_text_shorter_than_two_chunks_is_refused_with_the_context_that_would_do() -> None:
    with pytest.raises(BadRequest, match=r"has 1023 tokens; .* needs at least 1024: .*-c 511"):
        cut(np.zeros(1023, np.int32), 512)
    with pytest.raises(BadRequest, match="at least 1"):
        cut(np.zeros(1024, np.int32), 512, limit=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error_not_a_number(bad: float) -> None:
    engine = array_engine()
    engine.logits[3, 2, 100] = bad
    with pytest.raises(BadWeights, match="NaN or infinite"):
        perplexity(engine, b"")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_never_change_the_result(threads: int) -> None:
    rows = np.random.default_rng(0).standard_normal((60, 30_000)).astype(np.float32) * 5
    sums = row_sums(rows, threads)
    np.testing.assert_array_equal(sums.total, row_sums(rows, 1).total)
    np.testing.assert_allclose(rows[:, 0] - sums.log_sum_exp, log_softmax(rows)[:, 0], rtol=1e-7)


def test_soft_max_holds_at_the_ends_of_float32() -> None:
    rows = np.array([[3e38, -3e38, 0], [-1e4, -1e4, -1e4], [1e4, 1e4 - 20, 0]], np.float32)
    expected = [3e38, -1e4 + np.log(3), 1e4 + np.log1p(np.exp(-20))]
    np.testing.assert_allclose(row_sums(rows).log_sum_exp, expected, rtol=1e-7)


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).standard_normal(1000) * 3 + 5
    mean, stderr = mean_and_stderr(values)
    assert mean == pytest.approx(values.mean())
    assert stderr == pytest.approx(values.std(ddof=1) / np.sqrt(1000), rel=1e-12)
    assert mean_and_stderr(np.array([2.0])) == (2.0, 0.0)


def test_a_text_file_is_read_as_llama_cpp_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\r\n\n")
    assert read_text(tmp_path / "a.txt") == b"caf\xe9\r\n"
    with pytest.raises(BadRequest, match=r"absent\.txt: cannot be read"):
        read_text(tmp_path / "absent.txt")


def test_models_that_do_not_share_their_tokens_are_not_compared() -> None:
    base = array_engine()
    with pytest.raises(BadRequest, match="500 tokens, MODEL of 501"):
        shared_chunks(base, array_engine(n_vocab=501), b"")
    with pytest.raises(BadRequest, match="different vocabularies"):
        shared_chunks(base, near(base, 0, vocabulary_hash="00" * 32), b"")
    with pytest.raises(BadRequest, match="tokenize this text differently"):
        shared_chunks(base, near(base, 0, tokens=base.tokens[::-1]), b"")
    np.testing.assert_array_equal(shared_chunks(base, near(base, 0), b"", 3), base.tokens[:48].reshape(3, 16))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_ctx", "n_batch", "add_bos"),
    [(64, 256, True), (64, 64, False), (50, 256, True), (64, 24, True)],
    ids=["side by side", "one at a time, no BOS", "not a power of two", "in pieces"],
)
def test_llama_cpp_gives_the_perplexity_of_the_definition(
    tmp_path: Path, n_ctx: int, n_batch: int, add_bos: bool
) -> None:
    shape = TinyShape(format="F32", add_bos=add_bos)
    path = write_tiny_gguf(tmp_path / "tiny.gguf", format="F32", add_bos=add_bos)
    text = TINY_TEXT[:900].encode()
    with Model.load(path) as model, LlamaCppLogits(model, n_ctx=n_ctx, n_batch=n_batch, threads=1) as engine:
        found = perplexity(engine, text, limit=5)
        tokens = model.tokenize(text, add_special=True)
        assert (found.bos, found.chunks) == (0 if add_bos else None, 5)
    nll = []
    for start in range(0, 5 * n_ctx, n_ctx):
        chunk = tokens[start : start + n_ctx].copy()
        chunk[0] = 0 if add_bos else chunk[0]
        log_p = log_softmax(forward(shape, chunk))
        nll += [-log_p[i, chunk[i + 1]] for i in range(n_ctx // 2, n_ctx - 1)]
    np.testing.assert_allclose(found.nll, nll, atol=0.02)  # keys and values are stored in 16 bits
    assert found.perplexity == pytest.approx(np.exp(np.mean(nll)), rel=1e-3)


@pytest.mark.slow
def test_contexts_and_models_without_a_defined_perplexity_are_refused(tmp_path: Path) -> None:
    with (
        Model.load(write_tiny_gguf(tmp_path / "tiny.gguf")) as model,
        pytest.raises(BadRequest, match="at least 4"),
    ):
        LlamaCppLogits(model, n_ctx=3)


def test_the_array_engine_overwrites_what_it_gave() -> None:
    """The tests above are worth something only if a held view goes stale, as llama.cpp's does."""
    engine: ArrayEngine = array_engine()
    groups = engine.scored_logits(with_bos(cut(engine.tokens, 16), 0))
    first = next(groups)
    kept = first.copy()
    next(groups)
    assert not np.array_equal(first, kept)


def test_an_overheard_engine_gives_its_listener_the_same_and_notes_the_perplexity() -> None:
    engine = array_engine()
    chunks = cut(engine.tokens, 16)
    heard = Overheard(engine)
    seen = np.concatenate([logits.copy() for logits in heard.scored_logits(with_bos(chunks, engine.bos))])
    np.testing.assert_array_equal(seen, engine.logits)
    plain = perplexity_of_chunks(engine, chunks)
    assert (heard.perplexity().perplexity, heard.perplexity().stderr) == (plain.perplexity, plain.stderr)
    assert heard.perplexity().chunks == plain.chunks == 7
    list(heard.scored_logits(with_bos(chunks[:2], engine.bos)))
    assert heard.perplexity().chunks == 2, "a second reading starts anew"
