"""quantize --recipe: a checkpoint in, the model that a recipe makes of it out; calibrated where the recipe looks."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight import __version__
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.fingerprint import fingerprint
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.atomic import check_output
from pennyweight.containers.atomic_directory import require_free
from pennyweight.core.errors import BadRequest
from pennyweight.jobs.calibration import calibrate
from pennyweight.jobs.cost import measured_cost
from pennyweight.jobs.recipe_directory import DirectoryRun
from pennyweight.jobs.recipe_gguf import GgufRun
from pennyweight.pipeline.calibration import Calibration, CalibrationOptions
from pennyweight.pipeline.journal import BlockJournal
from pennyweight.pipeline.reports import LayerReport, notes_of
from pennyweight.pipeline.walk import BlockSettings
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.recipes.grammar import Recipe, parse_recipe
from pennyweight.recipes.overrides import Overrides
from pennyweight.runtimes.torch_reference.libraries import require_torch
from pennyweight.runtimes.torch_reference.libraries import versions as torch_versions
from pennyweight.runtimes.torch_reference.model_config import model_config
from pennyweight.runtimes.torch_reference.settings import TorchSettings, device_of

NOTHING_ASKED, USUAL_SAMPLES = Overrides(), CalibrationOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """How to follow a recipe.

    Attributes:
        text: what to calibrate on: a file, a named text, or `self`; None where the recipe looks at nothing.
        calibration: how many samples of which length, drawn by which seed.
        overrides: formats asked for by tensor, in a GGUF.
        layout: of a checkpoint directory (`gptq`, `awq`, `pack-quantized` …); None for the usual one.
        device: `cpu`, `cuda`, or `auto`.
        work: directory of the journal, which stays; None for one beside the output that goes when it is written.
        spill: directory for activations between blocks; None keeps them in memory.
        true_sequential: each group of layers sees the groups before it quantized.
        held_back: bytes of the text that the result will be evaluated on, where that is known.
        threads: None for every core of this process.
    """

    text: str | Path | None = None
    calibration: CalibrationOptions = USUAL_SAMPLES
    overrides: Overrides = NOTHING_ASKED
    layout: str | None = None
    device: str = "auto"
    work: Path | None = None
    spill: Path | None = None
    true_sequential: bool = True
    held_back: bytes | None = None
    threads: int | None = None


USUAL = RecipeOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """What was written.

    Attributes:
        output: the file or directory; type: the recipe, canonically spelled.
        bytes: of the output's files.
        bits_per_weight: stored bits of all tensors ÷ weights: scales, zero points, outliers and indices counted.
        seconds, peak_memory_bytes, peak_device_bytes: what it cost; memory None where the system does not say.
        weights: how many the model has.
        tensors: name → format or grid.
        layers: how each rounded matrix fared.
        calibration: what was seen, in words; None where nothing was.
        notes: what a person should know.
    """

    output: str
    type: str
    bytes: int
    bits_per_weight: float
    seconds: float
    peak_memory_bytes: int | None
    peak_device_bytes: int | None
    weights: int
    tensors: dict[str, str]
    layers: tuple[LayerReport, ...]
    calibration: str | None
    notes: tuple[str, ...]


def quantize_recipe(model: str, recipe: str, output: str | Path, options: RecipeOptions = USUAL) -> RecipeResult:
    """Follow `recipe` (`gptq:Q3_K_S`) from MODEL to `output`: a .gguf, or a checkpoint directory.

    A run that was killed goes on behind its last finished block when the same command is given again.

    Raises: UnknownName, BadRequest (a recipe that makes no sense, no text, another run's work directory),
        UnsupportedModel, BadWeights, DoesNotFit, OutputError, Missing without PyTorch.
    """
    asked, path = parse_recipe(recipe), Path(output)
    require_torch()
    checkpoint = open_checkpoint(model)
    _require_possible(checkpoint, asked, options)
    device = device_of(TorchSettings(device=options.device))
    settings = BlockSettings(
        device=device, spill=options.spill, threads=options.threads, true_sequential=options.true_sequential
    )
    run = _run(checkpoint, asked, path, options)
    with measured_cost(device.type) as cost:
        seen = _calibration(model, asked, options)
        work = options.work or path.with_name(f".{path.name}.work")
        with BlockJournal(work, _depends_on(checkpoint, asked, seen, options)) as journal:
            made = run.make(seen, journal, settings)
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return RecipeResult(
        output=str(path),
        type=str(asked),
        bytes=made.bytes,
        bits_per_weight=made.bits / made.weights,
        seconds=cost.seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
        peak_device_bytes=cost.peak_device_bytes,
        weights=made.weights,
        tensors=made.tensors,
        layers=made.layers,
        calibration=_said(seen),
        notes=(*(seen.notes if seen else ()), *notes_of(made.layers)),
    )


def _run(checkpoint: Checkpoint, recipe: Recipe, output: Path, options: RecipeOptions) -> GgufRun | DirectoryRun:
    """Raises: OutputError for a place that cannot be written, BadRequest for a layout that cannot hold the codes."""
    if recipe.file_type:
        if options.layout:
            raise BadRequest(f"{recipe} is written as a GGUF; --layout is for recipes on integers, fp8 and spqr")
        check_output(output, checkpoint.files)
        return GgufRun(checkpoint, recipe, options.overrides, output, options.threads)
    if options.overrides != NOTHING_ASKED:
        raise BadRequest(f"{recipe} writes a directory; formats by tensor are for recipes on a file type")
    require_free(output)
    return DirectoryRun(checkpoint, model_config(checkpoint), recipe, output, options.layout)


def _require_possible(checkpoint: Checkpoint, recipe: Recipe, options: RecipeOptions) -> None:
    """Raises: BadRequest."""
    quantized = [tensor for tensor in checkpoint.tensors if tensor.format not in UNQUANTIZED]
    if quantized:
        raise BadRequest(
            f"{checkpoint.source} is quantized already ({quantized[0].name} is {quantized[0].format}); a recipe starts "
            "from the F16 or BF16 model"
        )
    if recipe.needs_calibration and options.text is None:
        raise BadRequest(
            f"{recipe} looks at activations; give a calibration text with --text FILE, or --text self for one that the "
            "model writes"
        )
    if recipe.kv:
        raise BadRequest(
            f"{recipe}: cached keys and values are quantized when a model runs, not when it is written; leave "
            f"/kv={recipe.kv} out and run with -ctk {recipe.kv} -ctv {recipe.kv}"
        )


def _calibration(model: str, recipe: Recipe, options: RecipeOptions) -> Calibration | None:
    if not recipe.needs_calibration or options.text is None:
        return None
    return calibrate(model, options.text, options.calibration, options.held_back, options.threads)


def _depends_on(
    checkpoint: Checkpoint, recipe: Recipe, seen: Calibration | None, options: RecipeOptions
) -> Mapping[str, Any]:
    """Everything that the bytes of a block depend on."""
    return {
        "model": fingerprint(checkpoint),
        "recipe": str(recipe),
        "calibration": seen.digest if seen else None,
        "formats": repr(options.overrides),
        "true_sequential": options.true_sequential,
        "device": device_of(TorchSettings(device=options.device)).type,
        "versions": f"pennyweight {__version__}, {torch_versions()}",
    }


def _said(seen: Calibration | None) -> str | None:
    if seen is None:
        return None
    samples, length = seen.tokens.shape
    return f"{samples} samples of {length} tokens from {seen.source}"
