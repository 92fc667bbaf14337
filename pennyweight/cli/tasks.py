"""`pennyweight tasks MODEL --tasks mmlu,gsm8k,hellaswag,humaneval`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.core.units import parse_tokens, show_seconds

if TYPE_CHECKING:
    from pennyweight.evaluation.task_data import TaskScore
    from pennyweight.jobs.tasks import TasksResult

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."


def tasks(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    names: Annotated[
        str, typer.Option("--tasks", metavar="NAMES", help="With commas between: mmlu,gsm8k,hellaswag,humaneval …")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="First questions of each task only; default: all.")] = None,
    shots: Annotated[
        int | None, typer.Option("--num-fewshot", min=0, help="Examples before a question; default: the task's own.")
    ] = None,
    include: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your own task files (YAML); Python they name is run.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code-execution", help="Run code the model writes, here, in no sandbox (HumanEval).")
    ] = False,
    ctx: Annotated[
        str | None, typer.Option("-c", "--ctx", metavar="TOKENS", help="Longest text; default: as trained.")
    ] = None,
    parallel: Annotated[int, typer.Option("-np", "--parallel", min=1, max=256, help="Texts read side by side.")] = 8,
    gpu_layers: Annotated[int, typer.Option("-ngl", help="Layers on the GPU, where this llama.cpp has one.")] = 0,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    seed: Annotated[int, typer.Option(help="Of answers that are sampled.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask MODEL benchmark questions by lm-evaluation-harness; scores with 95 % intervals. Needs the extra `tasks`."""
    from pennyweight.jobs.tasks import TasksOptions
    from pennyweight.jobs.tasks import tasks as job

    options = TasksOptions(
        limit=limit,
        shots=shots,
        ctx=parse_tokens(ctx) if ctx else None,
        parallel=parallel,
        threads=threads,
        gpu_layers=gpu_layers,
        include=include,
        allow_code_execution=allow_code,
        seed=seed,
    )
    result = job(model, names, options)
    if json:
        print_json(result)
    else:
        _show(result)


def _show(result: "TasksResult") -> None:
    columns = ("task", "metric", "value", "±", "95 % interval", "asked")
    print_table(result.model, columns, [_row(score) for score in result.rows], left=("task", "metric"))
    print(f"{result.harness} on {result.engine}, texts of up to {result.n_ctx} tokens, {show_seconds(result.seconds)}")
    for note in result.notes:
        print(f"  note: {note}")


def _row(score: "TaskScore") -> tuple[str, ...]:
    """One line of the table, as wide as 80 columns allow; what is not known stays empty."""
    metric = score.metric if score.filter == "none" else f"{score.metric} ({score.filter})"
    stderr = "" if score.stderr is None else f"{score.stderr:.3f}"
    interval = "" if score.low is None else f"{score.low:.3f} … {score.high:.3f}"
    return score.task, metric, f"{score.value:.3f}", stderr, interval, str(score.samples)
