"""Calibration tokens: seeded, packed, BOS first, never what is evaluated on."""

from pathlib import Path

import numpy as np
import pytest

from pennyweight.core.errors import BadRequest
from pennyweight.pipeline.calibration import (
    CalibrationOptions,
    from_model,
    from_text,
    require_held_back,
    shared_fraction,
)
from pennyweight.runtimes.llama_cpp import Model
from tests.tiny_gguf import BOS, TINY_TEXT, write_tiny_gguf

TOKENS = np.arange(1, 1001, dtype=np.int32)


def test_chunks_are_stretches_of_the_text_without_overlap() -> None:
    found = from_text(TOKENS, None, "text", CalibrationOptions(samples=6, length=100, seed=3)).tokens
    assert found.shape == (6, 100)
    assert (np.diff(found, axis=1) == 1).all(), "each chunk is a stretch of the text"
    starts = found[:, 0]
    assert (np.diff(starts) >= 100).all(), "no two chunks overlap"


def test_the_seed_decides_which_chunks() -> None:
    def drawn(seed: int) -> list[int]:
        return from_text(TOKENS, None, "", CalibrationOptions(samples=3, length=50, seed=seed)).tokens[:, 0].tolist()

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 4


def test_every_chunk_starts_with_bos_where_the_model_adds_one() -> None:
    found = from_text(TOKENS, 7, "text", CalibrationOptions(samples=4, length=64))
    assert (found.tokens[:, 0] == 7).all()
    without = from_text(TOKENS, None, "text", CalibrationOptions(samples=4, length=64))
    np.testing.assert_array_equal(found.tokens[:, 1:], without.tokens[:, 1:])
    assert found.digest != without.digest


def test_a_text_shorter_than_what_was_asked_for_is_used_whole_and_said() -> None:
    found = from_text(TOKENS, None, "a book", CalibrationOptions(samples=128, length=100))
    assert len(found.tokens) in (9, 10)
    assert "a book has" in found.notes[0]
    assert "128 were asked for" in found.notes[0]


def test_a_text_shorter_than_one_chunk_is_refused() -> None:
    with pytest.raises(BadRequest, match="1000 tokens, less than one sample of 1001"):
        from_text(TOKENS, None, "a note", CalibrationOptions(length=1001))


@pytest.mark.parametrize("changes", [{"samples": 0}, {"length": 3}, {"seed": -1}])
def test_impossible_options_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(BadRequest, match="are wanted"):
        CalibrationOptions(**changes)


def test_the_evaluation_text_is_recognised_whole_in_part_and_reformatted() -> None:
    evaluation = TINY_TEXT.encode()
    other = b"".join(b"Line %d of quite another book, in which nothing of that year stands.\n" % i for i in range(500))
    assert shared_fraction(other, evaluation) == 0
    assert shared_fraction(evaluation, evaluation) == 1
    assert shared_fraction(b"  ".join(evaluation.split()), evaluation) == 1
    half = evaluation[: len(evaluation) // 2]
    assert 0.4 < shared_fraction(other + half, evaluation) < 0.6
    require_held_back(other, evaluation, "the text")
    with pytest.raises(BadRequest, match=r"holds \d+% of the text, which is evaluated on"):
        require_held_back(other + half, evaluation, "the text")


@pytest.mark.slow
def test_what_the_model_writes_is_seeded_and_follows_its_own_distribution(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", vocabulary=300, sharpness=6.0)
    options = CalibrationOptions(samples=20, length=24, seed=5)
    with Model.load(path) as model:
        first = from_model(model, options, advance=lambda count: None)
        again = from_model(model, options, advance=lambda count: None)
        other = from_model(model, CalibrationOptions(samples=20, length=24, seed=6), advance=lambda count: None)
        assert first.tokens.shape == (20, 24)
        assert (first.tokens[:, 0] == BOS).all()
        np.testing.assert_array_equal(first.tokens, again.tokens)
        assert first.digest != other.digest
        # Against a uniform text of the same length, the model's own is far likelier to the model.
        uniform = np.random.default_rng(0).integers(0, 300, first.tokens.shape, np.int32)
        assert _log_likelihood(model, first.tokens) > _log_likelihood(model, uniform) + 1


def _log_likelihood(model: Model, chunks: np.ndarray) -> float:
    """Mean log-probability of each token after the first, by one decode per chunk."""
    from pennyweight.runtimes.llama_cpp import Context, ContextSettings

    total = 0.0
    with Context(model, ContextSettings(n_ctx=32, n_batch=32)) as context:
        for chunk in chunks:
            context.clear()
            context.decode(chunk, np.arange(len(chunk)))
            logits = context.logits().astype(np.float64)
            logits = logits - logits.max(axis=1, keepdims=True)
            p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total += p[np.arange(len(chunk) - 1), chunk[1:]].mean()
    return total / len(chunks)
