"""`pennyweight sweep MODEL --text F -o DIR`; and how a sweep is shown, which `demo` shares."""

import shutil
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.cli.perplexity import TEXT_HELP
from pennyweight.core.errors import BadRequest
from pennyweight.core.units import parse_tokens, show_seconds

if TYPE_CHECKING:
    from pennyweight.evaluation.sweep import SweepResult

MODEL_HELP = "The unquantized model: `embedded`, a .gguf, a Hugging Face directory or repository."


def sweep(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    text: Annotated[Path, typer.Option(metavar="F", help=TEXT_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where files and report go.")],
    types: Annotated[
        str | None, typer.Option(metavar="TYPE,…", help="File types. Default: the field's seven, Q8_0 to Q2_K.")
    ] = None,
    recipes: Annotated[
        str | None, typer.Option(metavar="R,…", help="Recipes after the types: gptq:Q3_K_S,awq:INT4_G128,spqr:3 …")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(metavar="F", help="What recipes calibrate on, never F above: a file, or `self`.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Chunks of the calibration text.")] = 128,
    calibration_seed: Annotated[int, typer.Option(min=0, help="Which chunks.")] = 0,
    ctx: Annotated[str, typer.Option("-c", "--ctx", metavar="TOKENS", help="Tokens of one chunk.")] = "512",
    chunks: Annotated[int | None, typer.Option(min=1, help="Most chunks to score; default: all.")] = None,
    prompt: Annotated[int, typer.Option("-p", "--n-prompt", min=1, help="Tokens of the prompt speed test.")] = 512,
    generate: Annotated[int, typer.Option("-n", "--n-gen", min=1, help="Tokens of the decode speed test.")] = 128,
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Timed runs of each.")] = 3,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure speeds.")] = True,
    keep: Annotated[bool, typer.Option("--keep/--discard", help="Leave the quantized files in DIR.")] = True,
    seed: Annotated[int, typer.Option(help="Of the sample kept of improbable tokens.")] = 0,
    gpu_layers: Annotated[int, typer.Option("-ngl", help="Layers on the GPU, where this llama.cpp has one.")] = 0,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure all levels of one model: size, speed, perplexity, KL divergence; table, charts and an HTML page.

    A sweep that was interrupted goes on where it stopped: give the same command again.
    """
    from pennyweight.jobs.recipe import RecipeOptions
    from pennyweight.jobs.scoring import EvaluationOptions
    from pennyweight.jobs.sweep import LEVELS, SweepOptions
    from pennyweight.jobs.sweep import sweep as job
    from pennyweight.pipeline.calibration import CalibrationOptions
    from pennyweight.runtimes.speed import SpeedSettings

    timing = SpeedSettings(
        prompt_tokens=prompt,
        generated_tokens=generate,
        repetitions=repetitions,
        threads=threads,
        gpu_layers=gpu_layers,
    )
    named = _names(types) if types is not None else () if recipes is not None else LEVELS
    options = SweepOptions(
        types=named,
        recipes=_names(recipes or ""),
        following=RecipeOptions(
            text=calibration,
            calibration=CalibrationOptions(samples=samples, seed=calibration_seed),
            threads=threads,
        ),
        evaluation=EvaluationOptions(
            ctx=parse_tokens(ctx),
            chunks=chunks,
            # One engine for the whole table: directories are scored by PyTorch, so are the GGUFs beside them.
            engine="torch" if recipes else "llama.cpp",
            gpu_layers=gpu_layers,
            threads=threads,
        ),
        speed=timing if speed else None,
        keep_files=keep,
        seed=seed,
    )
    finish(job(model, text, output, options), json=json)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def finish(result: "SweepResult", *, json: bool) -> None:
    """Print a sweep. Raises: BadRequest, after everything is printed, where a level failed."""
    if json:
        print_json(result)
    else:
        show(result)
    if result.failures:
        failed = "; ".join(f"{failure.type}: {failure.reason}" for failure in result.failures)
        count = len(result.failures)
        raise BadRequest(f"{count} of {count + len(result.rows)} levels failed, the others stand: {failed}")


def show(result: "SweepResult") -> None:
    """The table, as wide as the terminal allows, what must be said with it, and where the report is."""
    from pennyweight.report.headline import headline
    from pennyweight.report.table import columns_for, encode_speed, sentences

    width = shutil.get_terminal_size().columns
    columns = columns_for(result.rows, width)
    heads = [column.head for column in columns]
    rows = [[column.cell(row) for column in columns] for row in result.rows]
    said = result.provenance
    title = f"{result.model} on {said.text}: {said.tokens:,} tokens scored, {said.engine}"
    print_table(title, heads, rows, left=[column.head for column in columns if column.left])
    texts = [(row.type, encode_speed(row), " ".join(row.text.split())) for row in result.rows if row.text]
    if texts:
        print_table("", ("type", "encode", "what it writes"), texts, left=("type", "what it writes"))
    for sentence in (headline(result), *sentences(result)):
        print(fill(sentence, width, subsequent_indent="  "))
    print(f"Report: {result.files[0]} ({show_seconds(result.seconds)})")
