"""`pennyweight lint CHECKPOINT`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pennyweight.jobs.lint import LintResult


def lint(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A directory, a .gguf, or user/repo.")],
    tp: Annotated[int, typer.Option("--tp", min=1, help="Tensor-parallel ranks that shall share it.")] = 1,
    everything: Annotated[bool, typer.Option("--all", help="Look at every number for NaN, not at samples.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether a checkpoint is sound, and which runtimes load it. Exit 1 if an error is found."""
    from pennyweight.jobs.lint import lint as job

    result = job(checkpoint, tensor_parallel=tp, everything=everything)
    if json:
        print_json(result)
    else:
        _show(result)
    if not result.sound:
        raise typer.Exit(1)


def _show(result: "LintResult") -> None:
    rows = [(f.level, f.check, f.where, "; ".join(filter(None, (f.message, f.advice)))) for f in result.findings]
    if rows:
        columns = ("level", "check", "where", "what")
        print_table("", columns, rows, left=columns)
    runtimes = [(s.runtime, s.version, s.loads, s.why, s.source) for s in result.runtimes]
    if runtimes:
        columns = ("runtime", "version", "loads", "why", "known from")
        print_table("", columns, runtimes, left=columns)
    verdict = "sound" if result.sound else "NOT sound"
    print(f"{result.checkpoint}: {result.layout}, {result.tensors} tensors, {verdict}")
