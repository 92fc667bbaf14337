"""Log-likelihoods of continuations, against the definition in float64; lanes and shared beginnings change nothing."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.evaluation.continuations import (
    Continuation,
    ContinuationScore,
    input_tokens,
    rolling,
    score_continuations,
)
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.lanes import Lanes, LaneText, shared_beginning
from tests.tiny_forward import forward
from tests.tiny_gguf import TinyShape, write_tiny_gguf

SHAPE = TinyShape(format="F32")
CLOSE = 0.02
"""Nats. The cache holds keys and values in float16; logits have a standard deviation of 3."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.load(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32")) as loaded:
        yield loaded


def by_definition(request: Continuation) -> ContinuationScore:
    """Σ log softmax of the whole text's logits, each token from everything before it."""
    text = np.concatenate([request.context, request.tokens])
    rows = forward(SHAPE, text)[len(request.context) - 1 : -1]
    log_p = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    return ContinuationScore(
        log_likelihood=float(log_p[np.arange(len(rows)), request.tokens].sum()),
        greedy=bool((rows.argmax(axis=1) == request.tokens).all()),
    )


def questions(count: int = 6, endings: int = 4) -> list[Continuation]:
    """Questions after one shared beginning, each with endings of 1 to 9 tokens; the last ending is the greedy one."""
    rng = np.random.default_rng(5)
    shared = rng.integers(2, 512, 30, np.int32)
    found = []
    for index in range(count):
        context = np.concatenate([shared, rng.integers(2, 512, 5 + index, np.int32)])
        for _ in range(endings - 1):
            found.append(Continuation(context=context, tokens=rng.integers(2, 512, rng.integers(1, 10), np.int32)))
        found.append(Continuation(context=context, tokens=forward(SHAPE, context)[-1:].argmax(axis=1).astype(np.int32)))
    return found


def assert_near(got: list[ContinuationScore], wanted: list[ContinuationScore], tolerance: float) -> None:
    assert [score.greedy for score in got] == [score.greedy for score in wanted]
    values = ([score.log_likelihood for score in scores] for scores in (got, wanted))
    np.testing.assert_allclose(*values, atol=tolerance)


@pytest.mark.slow
def test_scores_are_those_of_the_definition_and_a_shared_beginning_is_read_once(model: Model) -> None:
    asked = questions()
    done: list[int] = []
    with Lanes(model, count=1, n_ctx=64, threads=1) as lanes:
        got = score_continuations(lanes, asked, done.append)
        read = lanes.tokens_read
    assert_near(got, [by_definition(request) for request in asked], CLOSE)
    assert sum(score.greedy for score in got) >= 6
    assert sum(done) == len(asked)
    everything = sum(input_tokens(request) for request in asked)
    assert read < everything / 4, f"{read} of {everything} tokens were read"


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{"count": 3}, {"count": 7, "batch": 16}, {"count": 4, "threads": 2}])
def test_lanes_batches_and_threads_never_change_a_score_beyond_rounding(model: Model, knobs: dict[str, int]) -> None:
    asked = questions()
    with Lanes(model, count=1, n_ctx=64, threads=1) as lanes:
        wanted = score_continuations(lanes, asked)
    with Lanes(model, n_ctx=64, **({"threads": 1} | knobs)) as lanes:
        assert_near(score_continuations(lanes, asked), wanted, 2e-3)


@pytest.mark.slow
def test_a_model_that_cannot_rewind_reads_everything_and_scores_the_same(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = questions(3)
    with Lanes(model, count=2, n_ctx=64, threads=1) as lanes:
        wanted = score_continuations(lanes, asked)
        fewer = lanes.tokens_read
    monkeypatch.setattr(Model, "rewinds", lambda self, n_ctx: False)
    with Lanes(model, count=2, n_ctx=64, threads=1) as lanes:
        assert_near(score_continuations(lanes, asked), wanted, 2e-3)
        assert lanes.tokens_read > 2 * fewer


@pytest.mark.slow
def test_a_text_longer_than_the_context_loses_its_beginning_alone(model: Model) -> None:
    tokens = np.random.default_rng(6).integers(2, 512, 90, np.int32)
    cut = Continuation(context=tokens[90 - 65 : 80], tokens=tokens[80:])  # 65 tokens, of which the model reads 64
    with Lanes(model, count=1, n_ctx=64, threads=1) as lanes:
        got = score_continuations(lanes, [Continuation(context=tokens[:80], tokens=tokens[80:])])
    assert_near(got, [by_definition(cut)], CLOSE)


@pytest.mark.slow
def test_what_cannot_be_scored_is_refused_in_one_line(model: Model) -> None:
    some, none = np.array([5, 6], np.int32), np.empty(0, np.int32)
    with Lanes(model, count=1, n_ctx=64, threads=1) as lanes:
        with pytest.raises(BadRequest, match="request 0 has 0 tokens of context"):
            score_continuations(lanes, [Continuation(context=none, tokens=some)])
        with pytest.raises(BadRequest, match="2 tokens of context and 0 to score"):
            score_continuations(lanes, [Continuation(context=some, tokens=none)])
        with pytest.raises(DoesNotFit, match="65 tokens does not fit a context of 64"):
            score_continuations(lanes, [Continuation(context=some, tokens=np.full(65, 7, np.int32))])
        with pytest.raises(BadRequest, match="one text per lane"):
            list(lanes.read([LaneText(lane=0, tokens=some, first=0)] * 2))
        assert score_continuations(lanes, []) == []


@pytest.mark.slow
def test_a_dense_model_rewinds_and_one_with_a_sliding_window_only_inside_it(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pennyweight.runtimes.llama_cpp.shared_object import library

    assert model.rewinds(1 << 20)
    monkeypatch.setattr(library(), "llama_model_n_swa", lambda handle: 512)
    assert (model.rewinds(512), model.rewinds(513)) == (True, False)
    monkeypatch.setattr(library(), "llama_model_is_hybrid", lambda handle: True)
    assert not model.rewinds(8)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 41])
def test_rolling_windows_foretell_every_token_once_from_as_much_context_as_fits(length: int) -> None:
    tokens: NDArray[np.int32] = np.arange(100, 100 + length, dtype=np.int32)
    windows = rolling(tokens, 7, 16)
    assert [token for window in windows for token in window.tokens] == tokens.tolist()
    assert all(input_tokens(window) <= 16 for window in windows)
    whole, at = [7, *tokens.tolist()], 1
    for window in windows:
        assert window.context.tolist() == whole[at - len(window.context) : at]
        at += len(window.tokens)
    if length > 16:
        assert input_tokens(windows[-1]) == 16, "the last window is filled up on its left"


def test_the_shared_beginning_ends_at_the_first_difference_or_the_shorter_text() -> None:
    a, b = np.array([1, 2, 3, 4], np.int32), np.array([1, 2, 9, 4, 5], np.int32)
    assert [shared_beginning(a, b), shared_beginning(a, a[:3]), shared_beginning(a[:0], b)] == [2, 3, 0]
