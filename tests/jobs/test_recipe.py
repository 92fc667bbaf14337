"""`quantize --recipe`: the files it writes, what llama.cpp makes of them, and the requests it refuses."""

from pathlib import Path

import numpy as np
import pytest

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, OutputError
from pennyweight.jobs.quantize import quantize
from pennyweight.jobs.recipe import RecipeOptions, quantize_recipe
from pennyweight.models.embedded import EMBEDDED
from pennyweight.pipeline.calibration import CalibrationOptions
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.logits import LlamaCppLogits
from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings
from tests.tiny_gguf import TINY_TEXT, write_tiny_gguf

pytestmark = [pytest.mark.torch, pytest.mark.slow]

FEW = CalibrationOptions(samples=4, length=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "model.gguf", vocabulary=400)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RecipeOptions:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TINY_TEXT)
    return RecipeOptions(text=path, calibration=FEW, device="cpu")


def test_round_to_nearest_by_recipe_is_llama_quantize(model: Path, tmp_path: Path) -> None:
    quantize(str(model), "Q4_K_M", tmp_path / "plain.gguf")
    made = quantize_recipe(str(model), "rtn:Q4_K_M", tmp_path / "recipe.gguf")
    assert made.calibration is None
    plain, recipe = (open_checkpoint(str(tmp_path / name)) for name in ("plain.gguf", "recipe.gguf"))
    for left, right in zip(plain.tensors, recipe.tensors, strict=True):
        assert (left.name, left.format) == (right.name, right.format)
        np.testing.assert_array_equal(left.raw_rows(0, left.rows), right.raw_rows(0, right.rows), left.name)


@pytest.mark.parametrize("type", ["Q3_K_S", "Q2_K", "IQ4_XS", "Q4_0"])
def test_gptq_on_a_file_type_has_its_formats_and_its_size(
    type: str, model: Path, options: RecipeOptions, tmp_path: Path
) -> None:
    made = quantize_recipe(str(model), f"gptq:{type}", tmp_path / "out.gguf", options)
    imatrix = quantize_recipe(str(model), f"imatrix:{type}", tmp_path / "imatrix.gguf", options)
    assert made.tensors == imatrix.tensors
    assert made.bits_per_weight == imatrix.bits_per_weight
    ours, theirs = (open_checkpoint(str(tmp_path / name)) for name in ("out.gguf", "imatrix.gguf"))
    assert [(t.name, t.format, t.nbytes) for t in ours.tensors] == [
        (t.name, t.format, t.nbytes) for t in theirs.tensors
    ]
    errors = {layer.name: layer.error for layer in made.layers}
    assert len(errors) == 14
    assert all(error is not None and 0 < error < 0.2 for error in errors.values()), errors
    assert not (tmp_path / ".out.gguf.work").exists()


def test_llama_cpp_runs_a_gptq_file_as_our_engine_does(model: Path, options: RecipeOptions, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    quantize_recipe(str(model), "gptq:Q4_K_S", out, options)
    with Model.load(out) as loaded, LlamaCppLogits(loaded, n_ctx=64) as theirs:
        chunks = theirs.tokenize(TINY_TEXT.encode())[:128].reshape(2, 64)
        wanted = np.concatenate([rows.copy() for rows in theirs.scored_logits(chunks)])
    with TorchLogits(open_checkpoint(str(out)), TorchSettings(n_ctx=64)) as ours:
        found = np.concatenate(list(ours.scored_logits(chunks)))
    # llama.cpp rounds what meets a quantized matrix to 8 bits.
    assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


def test_the_model_may_write_its_own_calibration_text(model: Path, tmp_path: Path) -> None:
    asked = RecipeOptions(text="self", calibration=FEW, device="cpu")
    made = quantize_recipe(str(model), "imatrix:Q4_K_S", tmp_path / "out.gguf", asked)
    assert made.calibration == "4 samples of 64 tokens from self"


def test_what_cannot_be_done_is_refused_before_anything_is(model: Path, options: RecipeOptions, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    with pytest.raises(BadRequest, match="looks at activations; give a calibration text"):
        quantize_recipe(str(model), "gptq:Q3_K_S", out)
    with pytest.raises(BadRequest, match="leave /kv=q8_0 out and run with -ctk q8_0"):
        quantize_recipe(str(model), "rtn:Q3_K_S/kv=q8_0", out)
    with pytest.raises(OutputError, match="is the input"):
        quantize_recipe(str(model), "rtn:Q3_K_S", model)
    quantize(str(model), "Q8_0", tmp_path / "quantized.gguf")
    with pytest.raises(BadRequest, match="quantized already"):
        quantize_recipe(str(tmp_path / "quantized.gguf"), "rtn:Q3_K_S", out)
    assert not out.exists()


def test_the_text_that_is_evaluated_on_is_no_calibration_text(model: Path, tmp_path: Path) -> None:
    survey = EMBEDDED / "survey.md"
    with pytest.raises(BadRequest, match="holds 100% of the embedded model's survey"):
        quantize_recipe(str(model), "gptq:Q3_K_S", tmp_path / "out.gguf", RecipeOptions(text=survey, calibration=FEW))


def test_tensors_outside_the_blocks_are_encoded_as_llama_quantize_does(
    model: Path, options: RecipeOptions, tmp_path: Path
) -> None:
    quantize(str(model), "Q3_K_S", tmp_path / "plain.gguf")
    quantize_recipe(str(model), "gptq:Q3_K_S", tmp_path / "recipe.gguf", options)
    plain, recipe = (
        {t.name: t for t in open_checkpoint(str(tmp_path / name)).tensors} for name in ("plain.gguf", "recipe.gguf")
    )
    for name in ("token_embd.weight", "output.weight", "blk.0.attn_norm.weight"):
        left, right = plain[name], recipe[name]
        np.testing.assert_array_equal(left.raw_rows(0, left.rows), right.raw_rows(0, right.rows), name)
    rounded = [name for name in plain if name.startswith("blk.") and plain[name].format not in UNQUANTIZED]
    differing = [name for name in rounded if (plain[name].raw_rows(0, 8) != recipe[name].raw_rows(0, 8)).any()]
    assert differing == rounded


@pytest.mark.parametrize("recipe", ["gptq:Q3_K_S", "imatrix:Q2_K"])
@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 32, "heads": 4, "kv_heads": 1, "feed_forward": 256},
        {"architecture": "qwen3moe", "experts": 4, "feed_forward": 256},
    ],
    ids=["32 layers, 4 heads to a key", "experts"],
)
def test_depth_shared_keys_and_experts_are_no_obstacle(
    recipe: str, shape: dict[str, object], options: RecipeOptions, tmp_path: Path
) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", vocabulary=400, **shape)
    made = quantize_recipe(str(path), recipe, tmp_path / "out.gguf", options)
    experts = int(shape.get("experts", 0))
    blocks = int(shape.get("layers", 2))
    assert len(made.layers) == blocks * (4 + 3 * max(experts, 1))
    with Model.load(tmp_path / "out.gguf") as loaded, LlamaCppLogits(loaded, n_ctx=64) as engine:
        chunks = engine.tokenize(TINY_TEXT.encode())[:64].reshape(1, 64)
        assert all(np.isfinite(rows).all() for rows in engine.scored_logits(chunks))
