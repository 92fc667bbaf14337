"""Side by side: answers are those that each would have been alone, and nobody's tokens come to another."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, DoesNotFit
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, Sampling
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Session
from pennyweight.runtimes.llama_cpp.side_by_side import Answer, Tally, side_by_side
from tests.models.tiny_configs import CONFIGS, write_planned_gguf
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

LENGTHS = (7, 1, 12, 3, 9, 5, 8)
PROMPTS = tuple(TINY_TEXT[start : start + 40 + 9 * start] for start in range(len(LENGTHS)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", format="F32"))


def speaking(context: Context, prompt: str, count: int, aside: str = "") -> Answer[list[int]]:
    """`count` tokens after `prompt`; after the second, words of ours come between."""
    model, drawn = context.model, []
    with Sampler(model, Sampling(temperature=0.7, seed=count)) as sampler:
        row = yield model.tokenize(prompt, add_special=True)
        while True:
            drawn.append(sampler.sample(context, row))
            if len(drawn) == count:
                return drawn
            words = model.tokenize(aside) if len(drawn) == 2 and aside else np.empty(0, np.int32)
            row = yield np.concatenate([np.array(drawn[-1:], np.int32), words])


def answered(model: Model, sequences: int, aside: str = "") -> tuple[list[list[int]], Tally]:
    settings, tally = ContextSettings(n_ctx=256, n_seq_max=sequences, threads=1), Tally()
    with Context(model, settings) as context:
        sessions = [Session(context, number) for number in range(sequences)]
        answers = [speaking(context, *asked, aside) for asked in zip(PROMPTS, LENGTHS, strict=True)]
        return side_by_side(sessions, answers, tally), tally


@pytest.mark.parametrize("aside", ["", " and the keeper of the harbour said"])
@pytest.mark.parametrize("sequences", [2, 3, len(PROMPTS)])
def test_answers_are_those_that_each_would_have_been_alone(model: Model, sequences: int, aside: str) -> None:
    alone, _ = answered(model, 1, aside)
    assert [len(tokens) for tokens in alone] == list(LENGTHS)
    together, _ = answered(model, sequences, aside)
    assert together == alone


def likeliest(context: Context, prompt: NDArray[np.int32], count: int) -> Answer[list[int]]:
    drawn: list[int] = []
    row = yield prompt
    while True:
        drawn.append(int(np.argmax(context.logits()[row])))
        if len(drawn) == count:
            return drawn
        row = yield np.array(drawn[-1:], np.int32)


@pytest.mark.parametrize("title", CONFIGS)
def test_states_windows_and_experts_of_every_architecture_keep_to_their_sequence(title: str, tmp_path: Path) -> None:
    found = {}
    with Model.load(write_planned_gguf(tmp_path / "model.gguf", CONFIGS[title])) as model:
        rng = np.random.default_rng(0)
        prompts = [rng.integers(3, model.facts.n_vocab - 1, 20 + 7 * i).astype(np.int32) for i in range(6)]
        for sequences in (1, 4):
            settings = ContextSettings(n_ctx=512, n_seq_max=sequences, threads=1)
            with Context(model, settings) as context:
                sessions = [Session(context, number) for number in range(sequences)]
                answers = [likeliest(context, prompt, 6 + i) for i, prompt in enumerate(prompts)]
                found[sequences] = side_by_side(sessions, answers, Tally())
    assert len({tuple(tokens[:6]) for tokens in found[1]}) > 1, "the prompts make a difference"
    assert found[1] == found[4]


def test_the_tally_counts_prompts_and_draws_once_each(model: Model) -> None:
    _, alone = answered(model, 1)
    _, together = answered(model, 3)
    assert alone.output_tokens == together.output_tokens == sum(LENGTHS)
    assert alone.decode_tokens == together.decode_tokens == sum(LENGTHS) - len(LENGTHS)
    longest = sum(len(model.tokenize(prompt, add_special=True)) for prompt in PROMPTS)
    assert 0 < together.prompt_tokens <= longest  # what two prompts share is read once


def test_each_that_ends_is_told_and_a_broken_one_closes_all(model: Model) -> None:
    ended: list[int] = []
    closed: list[str] = []

    def held(context: Context) -> Answer[None]:
        try:
            while True:
                yield context.model.tokenize(" word", add_special=False)
        finally:
            closed.append("held")

    with Context(model, ContextSettings(n_ctx=256, n_seq_max=2, threads=1)) as context:
        sessions = [Session(context, number) for number in range(2)]
        answers = [speaking(context, *asked) for asked in zip(PROMPTS, LENGTHS, strict=True)]
        side_by_side(sessions, answers, Tally(), ended.append)
        assert ended == [1] * len(PROMPTS)
        with pytest.raises(DoesNotFit, match="raise -c"):  # the first never ends, and its sequence fills
            side_by_side(sessions, [held(context), speaking(context, PROMPTS[0], 3)], Tally())
    assert closed == ["held"]


def test_a_sequence_that_the_context_does_not_have_is_refused(model: Model) -> None:
    with (
        Context(model, ContextSettings(n_ctx=256, threads=1)) as context,
        pytest.raises(BadRequest, match="sequence 1"),
    ):
        Session(context, 1)
