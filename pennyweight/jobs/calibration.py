"""A calibration text, as a user names it → tokens: a file, a named text, or `self`, what the model writes."""

from pathlib import Path

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.texts import CALIBRATION, text_bytes, text_name
from pennyweight.jobs.runnable import runnable
from pennyweight.models.embedded import SURVEY
from pennyweight.pipeline.calibration import (
    SELF,
    Calibration,
    CalibrationOptions,
    from_model,
    from_text,
    require_held_back,
)
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.torch_reference.tokens import tokens_of


def calibrate(
    model: str,
    text: str | Path,
    options: CalibrationOptions,
    held_back: bytes | None = None,
    threads: int | None = None,
) -> Calibration:
    """Tokens of `text` for MODEL; `held_back` is the text that the result will be evaluated on, where that is known.

    Raises: BadRequest for a text that is too short, cannot be read, or is evaluated on.
    """
    if is_self(text):
        with (
            runnable(model) as gguf,
            Model.load(gguf) as loaded,
            progress_bar("writing samples", options.samples, "samples") as advance,
        ):
            return from_model(loaded, options, threads=threads, advance=advance)
    data = text_bytes(text, CALIBRATION)
    for name, kept in (("the text", held_back), ("the embedded model's survey", SURVEY.read_bytes())):
        if kept is not None:
            require_held_back(data, kept, name)
    tokens = tokens_of(open_checkpoint(model))
    return from_text(tokens.tokenize(data), tokens.bos, text_name(text, CALIBRATION), options)


def is_self(text: str | Path) -> bool:
    """Whether the model writes its own text; a file of that name wins."""
    return str(text) == SELF and not Path(SELF).is_file()
