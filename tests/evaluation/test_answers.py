"""Answers written side by side: each as if it were alone, cut where its stops say."""

from collections.abc import Iterator

import numpy as np
import pytest

from pennyweight.core.errors import DoesNotFit
from pennyweight.evaluation.answers import Question, answer, cut
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, Sampling, generate
from pennyweight.runtimes.llama_cpp.lanes import Lanes
from tests.tiny_gguf import write_tiny_gguf

WARM = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.load(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32")) as loaded:
        yield loaded


def prompts(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    shared = rng.integers(2, 512, 20, np.int32)
    return [np.concatenate([shared, rng.integers(2, 512, 3 + index, np.int32)]) for index in range(count)]


def alone(model: Model, question: Question) -> str:
    """The answer of the runtime's own generator, one prompt in a context of its own."""
    with Context(model, ContextSettings(n_ctx=256, threads=1)) as context:
        tokens = generate(context, question.prompt, question.count, question.sampling)
        text = b"".join(model.piece(token) for token in tokens)
    return cut(text, question.stops).decode("utf-8", "replace")


@pytest.mark.slow
@pytest.mark.parametrize("lanes_count", [1, 3])
def test_each_answer_is_what_its_prompt_alone_would_get(model: Model, lanes_count: int) -> None:
    """Seven questions, greedy and sampled, of different lengths: lanes are freed and taken again in between."""
    asked = [
        Question(prompt=prompt, count=4 + 3 * index, sampling=Sampling(seed=index, **WARM) if index % 2 else Sampling())
        for index, prompt in enumerate(prompts(7))
    ]
    done: list[int] = []
    with Lanes(model, count=lanes_count, n_ctx=64, threads=1) as lanes:
        got = answer(lanes, asked, done.append)
    assert got == [alone(model, question) for question in asked]
    assert len(set(got)) == 7
    assert sum(done) == 7


@pytest.mark.slow
def test_an_answer_ends_before_its_first_stop_and_writes_no_further(model: Model) -> None:
    prompt = prompts(1)[0]
    with Context(model, ContextSettings(n_ctx=256, threads=1)) as context:
        free = b"".join(model.piece(token) for token in generate(context, prompt, 40))
    stop = free[12:15]
    with Lanes(model, count=1, n_ctx=128, threads=1) as lanes:
        got = answer(lanes, [Question(prompt=prompt, count=40, stops=(b"never there", stop))])[0]
        assert lanes.tokens_read < len(prompt) + 15, "at most the tokens of the first 15 bytes were written"
    assert got == free[: free.index(stop)].decode("utf-8", "replace")


@pytest.mark.slow
def test_a_question_that_does_not_fit_is_refused_before_any_is_read(model: Model) -> None:
    with Lanes(model, count=2, n_ctx=32, threads=1) as lanes:
        with pytest.raises(DoesNotFit, match="prompt of 23 tokens and an answer of 10 exceed the context of 32"):
            answer(lanes, [Question(prompt=prompts(1)[0], count=10)])
        assert lanes.tokens_read == 0


def test_a_text_is_cut_at_the_earliest_of_its_stops() -> None:
    assert cut(b"one\ntwo\n\nthree", (b"\n\n", b"\n", b"three")) == b"one"
    assert cut(b"one", (b"four",)) == b"one"
    assert cut(b"one", ()) == b"one"
