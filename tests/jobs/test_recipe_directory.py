"""Recipes that write checkpoint directories: every method on every kind of block, read back by our own engine."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, OutputError
from pennyweight.jobs.recipe import RecipeOptions, quantize_recipe
from pennyweight.jobs.scoring import EvaluationOptions, logits_engine
from pennyweight.pipeline.calibration import CalibrationOptions
from pennyweight.recipes.grammar import parse_recipe
from tests.checkpoints.tiny_huggingface import tensors, write_huggingface
from tests.tiny_gguf import TINY_TEXT

pytestmark = [pytest.mark.torch, pytest.mark.slow]

FAR = {
    "rtn:INT8": 0.03,
    "rtn:W8A8": 0.06,
    "llm_int8": 0.06,
    "fp8": 0.15,
    "fp8:static": 0.15,
    "gptq:INT8_G16": 0.03,
    "gptq:INT4_G16": 0.5,
    "awq+rtn:INT4_G16_ASYM": 0.6,
    "awq+gptq:INT4_G16": 0.6,
    "smooth+rtn:W8A8": 0.08,
    "spqr:3": 0.8,
    "spqr:5.0": 0.6,
}
"""Recipe → the most that logits of a tiny random model may differ, relative to their norm."""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RecipeOptions:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TINY_TEXT)
    return RecipeOptions(text=path, calibration=CalibrationOptions(samples=8, length=64), device="cpu")


def _model(directory: Path, family: str) -> Path:
    """Weights of an ordinary size: with unit variance attention is a lottery, and no rounding small."""
    stored = {name: w / np.float32(np.sqrt(w.shape[-1])) if w.ndim > 1 else w for name, w in tensors(family).items()}
    return write_huggingface(directory, family, stored=stored)


def _logits(model: Path) -> NDArray[np.float32]:
    with logits_engine(str(model), EvaluationOptions(ctx=32, engine="torch")) as engine:
        chunks = engine.tokenize(TINY_TEXT.encode())[:64].reshape(2, 32)
        return np.concatenate(list(engine.scored_logits(chunks)))


@pytest.mark.parametrize("family", ["llama", "qwen3", "mixtral"])
@pytest.mark.parametrize("recipe", FAR)
def test_a_recipes_directory_is_read_back_and_close_to_its_model(
    recipe: str, family: str, options: RecipeOptions, tmp_path: Path
) -> None:
    model = _model(tmp_path / "model", family)
    made = quantize_recipe(str(model), recipe, tmp_path / "out", options)
    assert made.type == recipe
    assert (made.calibration is not None) == parse_recipe(recipe).needs_calibration
    base, found = _logits(model), _logits(tmp_path / "out")
    distance = np.linalg.norm(found - base) / np.linalg.norm(base)
    # A random router is often undecided between two experts, and any rounding may decide it.
    assert 0 < distance < FAR[recipe] + (0.25 if family == "mixtral" else 0), distance
    linears = 4 + 3 * (4 if family == "mixtral" else 1)
    assert len(made.layers) == 2 * linears


def test_what_is_written_decodes_to_what_the_walk_computed_with(options: RecipeOptions, tmp_path: Path) -> None:
    """Heads of a llama are reordered in the canonical tensors: a row in the wrong place would show here."""
    model = _model(tmp_path / "model", "llama")
    kept = RecipeOptions(text=options.text, calibration=options.calibration, device="cpu", work=tmp_path / "work")
    quantize_recipe(str(model), "gptq:INT4_G16", tmp_path / "out", kept)
    original, written = ({t.name: t for t in open_checkpoint(str(tmp_path / d)).tensors} for d in ("model", "out"))
    for name in ("blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.ffn_down.weight"):
        tensor = written[name]
        rows, wanted = tensor.read_rows(0, tensor.rows), original[name].read_rows(0, tensor.rows)
        by_row = np.linalg.norm(rows - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        assert by_row.max() < 0.3, f"{name}: a row is not its own"
    assert sorted(path.name for path in (tmp_path / "work").glob("block-*")) == [
        "block-00000.safetensors",
        "block-00001.safetensors",
    ]


def test_layouts_and_places_that_cannot_serve_are_refused_first(options: RecipeOptions, tmp_path: Path) -> None:
    model = write_huggingface(tmp_path / "model", "qwen3")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="already and not empty"):
        quantize_recipe(str(model), "rtn:INT8", tmp_path / "full", options)
    with pytest.raises(BadRequest, match="--layout is for recipes on integers"):
        quantize_recipe(str(model), "rtn:Q8_0", tmp_path / "out.gguf", RecipeOptions(layout="gptq"))
    with pytest.raises(BadRequest, match="want 8-bit weights with one scale a row; take W8A8"):
        quantize_recipe(str(model), "rtn:W4A8_G16", tmp_path / "out", options)
