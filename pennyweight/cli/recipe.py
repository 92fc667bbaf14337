"""A recipe from the command line: the request as options give it, and how the result is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.cli.output import print_json
from pennyweight.core.errors import BadRequest
from pennyweight.core.units import parse_tokens, show_bytes, show_seconds

if TYPE_CHECKING:
    from pennyweight.jobs.recipe import RecipeResult
    from pennyweight.recipes.overrides import Overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """The options of `quantize` that are a recipe's."""

    recipe: str
    text: str | None
    samples: int
    sample_length: str
    seed: int
    device: str
    layout: str | None
    work: Path | None
    spill: Path | None
    threads: int | None


def require_alone(others: Mapping[str, object], output: Path | None, *, dry_run: bool) -> None:
    """Raises: BadRequest where options of a TYPE stand beside a recipe, or there is no output."""
    beside = [name for name, value in others.items() if value is not None] + ["--dry-run"] * dry_run
    if beside:
        raise BadRequest(f"{beside[0]} does not go with --recipe, which says what is written; leave one of them out")
    if output is None:
        raise BadRequest("no output path; say where with -o OUT")


def follow(model: str, asked: RecipeRequest, output: Path | None, overrides: "Overrides", *, json: bool) -> None:
    """Follow the recipe and print what came of it."""
    from pennyweight.jobs.recipe import RecipeOptions, quantize_recipe
    from pennyweight.pipeline.calibration import CalibrationOptions

    length = parse_tokens(asked.sample_length)
    options = RecipeOptions(
        text=asked.text,
        calibration=CalibrationOptions(samples=asked.samples, length=length, seed=asked.seed),
        overrides=overrides,
        layout=asked.layout,
        device=asked.device,
        work=asked.work,
        spill=asked.spill,
        threads=asked.threads,
    )
    assert output is not None
    result = quantize_recipe(model, asked.recipe, output, options)
    if json:
        print_json(result)
    else:
        _show(result)


def _show(result: "RecipeResult") -> None:
    print(result.output)
    size = f"{show_bytes(result.bytes)} ({result.bytes:,} bytes)"
    print(f"  {result.type}: {size}, {result.bits_per_weight:.2f} bits per weight")
    if result.calibration:
        print(f"  calibrated on {result.calibration}")
    known = [layer for layer in result.layers if layer.error is not None]
    if known:
        worst = max(known, key=lambda layer: layer.error or 0.0)
        mean = sum(layer.error or 0.0 for layer in known) / len(known)
        print(
            f"  output error on the calibration text: {mean:.2%} on average, {worst.error:.2%} at worst ({worst.name})"
        )
    for note in result.notes:
        print(f"  note: {note}")
    memory = f", at most {show_bytes(result.peak_memory_bytes)} of memory" if result.peak_memory_bytes else ""
    print(f"  {show_seconds(result.seconds)}{memory}")
