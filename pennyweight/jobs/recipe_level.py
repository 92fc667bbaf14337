"""A recipe as a level of a sweep, so that K-quants, GPTQ, AWQ and SpQR stand in one table."""

from dataclasses import replace
from pathlib import Path

from pennyweight.core.errors import BadRequest
from pennyweight.evaluation.texts import CALIBRATION, text_bytes
from pennyweight.jobs.calibration import is_self
from pennyweight.jobs.level import GGUF, Level, Made
from pennyweight.jobs.recipe import RecipeOptions, quantize_recipe
from pennyweight.jobs.scoring import text_hash
from pennyweight.pipeline.calibration import SELF
from pennyweight.recipes.grammar import parse_recipe


def recipe_level(model: str, recipe: str, options: RecipeOptions, evaluation_text: bytes) -> Level:
    """MODEL by a recipe, calibrated as `options` say, on a text that shares nothing with `evaluation_text`.

    Raises: UnknownName, BadRequest for a recipe that makes no sense, or one that needs a text and has none.
    """
    parsed = parse_recipe(recipe)
    if parsed.needs_calibration and options.text is None:
        raise BadRequest(f"{parsed} looks at activations; give a calibration text with --calibration FILE, or `self`")
    options = replace(options, held_back=evaluation_text, work=None)

    def make(path: Path) -> Made:
        made = quantize_recipe(model, str(parsed), path, options)
        return Made(bytes=made.bytes, bits_per_weight=made.bits_per_weight, weights=made.weights, seconds=made.seconds)

    key = _key(options) if parsed.needs_calibration else ""
    if parsed.file_type:
        return Level(name=str(parsed), make=make, suffix=GGUF, key=key)
    return Level(name=str(parsed), make=make, suffix="", key=key, engine="torch")


def _key(options: RecipeOptions) -> str:
    """What a calibrated level's weights depend on beside model and recipe."""
    assert options.text is not None
    text = SELF if is_self(options.text) else text_hash(text_bytes(options.text, CALIBRATION))
    return f"{text} {options.calibration} {options.true_sequential} {options.device}"
