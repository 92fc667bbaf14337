"""Answers: drawn by llama.cpp's own samplers, lawful under a grammar, the same whatever the cache held before."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, Sampling, generate
from pennyweight.runtimes.llama_cpp.placement import placement
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Clock, Session, Stop, read_next
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

SETTINGS = ContextSettings(n_ctx=512, threads=1)
GREEDY, WARM = Sampling(), Sampling(temperature=0.8, seed=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32"))


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with Context(model, SETTINGS) as context:
        yield Session(context)


def answer(session: Session, prompt: object, count: int, sampling: Sampling, grammar: str | None = None) -> list[int]:
    with Sampler(session.context.model, sampling, grammar) as sampler:
        clock = Clock()
        session.read(prompt, clock)  # type: ignore[arg-type]
        return list(session.answer(sampler, count, clock, ignore_eos=grammar is None))


def test_without_heat_llama_cpp_s_chain_takes_what_the_logits_say(model: Model, session: Session) -> None:
    prompt = model.tokenize(TINY_TEXT[:80], add_special=True)
    mine = answer(session, prompt, 24, GREEDY)
    with Context(model, SETTINGS) as context:
        assert mine == list(generate(context, prompt, 24, ignore_eos=True))


def test_a_seed_repeats_an_answer_and_another_seed_changes_it(model: Model, session: Session) -> None:
    prompt = model.tokenize(TINY_TEXT[:80], add_special=True)
    first = answer(session, prompt, 24, WARM)
    assert answer(session, prompt, 24, WARM) == first
    assert answer(session, prompt, 24, Sampling(temperature=0.8, seed=6)) != first


def test_draws_have_the_frequencies_of_the_softmax(model: Model) -> None:
    logits = np.full(model.facts.n_vocab, -30, np.float32)
    logits[[7, 8, 9]] = np.log([0.5, 0.3, 0.2])
    hot = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
    with Sampler(model, hot) as sampler:
        drawn = [sampler.choose(logits) for _ in range(2000)]
    shares = [drawn.count(token) / 2000 for token in (7, 8, 9)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.05)


def test_a_grammar_is_kept_and_ends_the_answer(model: Model, session: Session) -> None:
    grammar = 'root ::= "- " [a-z ]{5,20} " [p. " [1-3] "]\\n"'
    tokens = answer(session, model.tokenize("The year", add_special=True), 200, WARM, grammar)
    assert re.fullmatch(r"- [a-z ]{5,20} \[p\. [1-3]\]\n", model.detokenize(tokens))


def test_a_grammar_that_allows_one_text_gives_that_text(model: Model, session: Session) -> None:
    tokens = answer(session, model.tokenize("The year", add_special=True), 200, GREEDY, 'root ::= "harbour"')
    assert model.detokenize(tokens) == "harbour"


def test_a_broken_grammar_is_one_line(model: Model) -> None:
    with pytest.raises(BadRequest, match="cannot parse the grammar"):
        Sampler(model, GREEDY, "root ::= (")


def test_what_the_cache_held_changes_nothing_but_the_work(model: Model, session: Session) -> None:
    prompt = model.tokenize(TINY_TEXT[:300], add_special=True)
    fresh = answer(session, prompt, 16, GREEDY)
    answer(session, np.concatenate([prompt[:40], prompt[80:100]]), 8, GREEDY)
    with Sampler(model, GREEDY) as sampler:
        clock = Clock()
        session.read(prompt, clock)
        assert list(session.answer(sampler, 16, clock, ignore_eos=True)) == fresh
    assert (clock.cached_tokens, clock.prompt_tokens) == (40, len(prompt) - 40)


def test_going_on_is_as_reading_it_all(model: Model, session: Session) -> None:
    prompt = model.tokenize(TINY_TEXT[:120], add_special=True)
    expected = answer(session, prompt, 8, GREEDY)
    session.read(prompt[:30], Clock())
    read_next([session], [prompt[30:]])
    with Sampler(model, GREEDY) as sampler:
        assert list(session.answer(sampler, 8, Clock(), ignore_eos=True)) == expected
    with pytest.raises(DoesNotFit, match="raise -c"):
        read_next([session], [np.full(session.room + 1, 40, np.int32)])


def test_the_clock_counts_what_was_done(model: Model, session: Session) -> None:
    clock = Clock()
    session.read(model.tokenize("The year", add_special=True), clock)
    with Sampler(model, GREEDY) as sampler:
        assert len(list(session.answer(sampler, 5, clock, ignore_eos=True))) == 5
    assert (clock.output_tokens, clock.decode_tokens, clock.stop) == (5, 4, Stop.LENGTH)
    assert clock.seconds_to_first_token is not None
    assert clock.seconds_to_first_token >= clock.prompt_seconds > 0


def test_a_full_context_ends_the_answer_and_a_longer_prompt_is_refused(model: Model, session: Session) -> None:
    clock = Clock()
    room = session.context.n_ctx
    session.read(np.full(room - 3, 40, np.int32), clock)
    with Sampler(model, GREEDY) as sampler:
        tokens = list(session.answer(sampler, None, clock, ignore_eos=True))
    assert (len(tokens), clock.stop) == (4, Stop.CONTEXT)
    with pytest.raises(DoesNotFit, match="raise -c"):
        session.read(np.full(room + 1, 40, np.int32), clock)
    with pytest.raises(BadRequest, match="no tokens"):
        session.read([], clock)


def test_where_the_layers_live_is_said(model: Model) -> None:
    assert placement(model) == "all 2 layers on the CPU"


def test_a_part_on_the_gpu_is_said_as_llama_cpp_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pennyweight.runtimes.llama_cpp import placement as module
    from pennyweight.runtimes.llama_cpp import shared_object

    monkeypatch.setattr(module, "gpu_names", lambda: ["CUDA0 (some card)"])
    shared_object._keep_line(2, b"load_tensors: offloaded 1/3 layers to GPU\n", None)
    assert shared_object.layers_offloaded() == 1
    with Model.load(write_tiny_gguf(tmp_path / "tiny.gguf")) as model:
        assert model.gpu_layers == 0  # what was said of another model is forgotten
        model.gpu_layers = 1
        assert placement(model) == "1 of 2 layers on CUDA0 (some card), 1 on the CPU"
        model.gpu_layers = 3
        assert placement(model) == "all 2 layers on CUDA0 (some card)"
