"""demo: the whole main job on the embedded model: quantized to seven levels, each loaded and run by llama.cpp."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.core.errors import OutputError
from pennyweight.jobs.quantize import quantize
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, generate

LEVELS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_S", "Q2_K")
"""The field's seven levels, from indistinguishable to an emergency."""

PROMPT = "It was a"
GENERATED_TOKENS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """One level.

    Attributes:
        bytes: size of the file.
        encode_weights_per_second: weights ÷ wall seconds of the whole `quantize`, reading and writing included.
        text: what the model at this level writes after the prompt, greedily.
    """

    type: str
    output: str
    bytes: int
    bits_per_weight: float
    seconds: float
    encode_weights_per_second: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """All levels of the embedded model."""

    model: str
    prompt: str
    rows: tuple[DemoRow, ...]


def demo(directory: Path, *, on_row: Callable[[DemoRow], None] = lambda row: None) -> DemoResult:
    """Quantize the embedded model to `LEVELS` in `directory` (made if absent), run each, and report.

    `on_row` is called as soon as a level is done.

    Raises: OutputError where the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {directory}: {error.strerror}") from error
    rows = []
    for level in LEVELS:
        rows.append(_row(level, directory / f"embedded-{level}.gguf"))
        on_row(rows[-1])
    return DemoResult(model="embedded", prompt=PROMPT, rows=tuple(rows))


def _row(level: str, output: Path) -> DemoRow:
    result = quantize("embedded", level, output)
    return DemoRow(
        type=level,
        output=str(output),
        bytes=result.bytes,
        bits_per_weight=result.bits_per_weight,
        seconds=result.seconds,
        encode_weights_per_second=result.weights / result.seconds,
        text=_continue(output),
    )


def _continue(gguf: Path) -> str:
    with Model.load(gguf) as model, Context(model, ContextSettings(n_ctx=256)) as context:
        prompt = model.tokenize(PROMPT, add_special=True)
        return model.detokenize([*prompt[1:], *generate(context, prompt, GENERATED_TOKENS)])
