"""`pennyweight calibrate`: short runs that fit this machine's speed model."""

from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pennyweight.jobs.calibrate import CalibrateResult, CalibrationRun


def calibrate(
    quick: Annotated[bool, typer.Option("--quick", help="Smaller models, fewer families: under a minute.")] = False,
    runtime: Annotated[
        str, typer.Option(help="llama.cpp, in this process, or llama-bench on the PATH (which may use a GPU).")
    ] = "llama.cpp",
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Threads of the processor.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit this machine's speed model by short runs of generated models; plans for it are then calibrated."""
    from pennyweight.jobs.calibrate import calibrate as job

    result = job(quick=quick, runtime=runtime, threads=threads)
    if json:
        print_json(result)
    else:
        _show(result)


def _show(result: "CalibrateResult") -> None:
    print(f"{result.device}, {result.runtime} {result.build}")
    if result.resumed_runs:
        print(f"{result.resumed_runs} of {len(result.runs)} runs are of an earlier calibration that was interrupted")
    print(f"bandwidth {result.bandwidth / 1e9:.1f} GB/s ({result.bandwidth_source})")
    columns = ("model", "type", "cache", "layers", "MiB", "depth", "tokens/s")
    print_table("", columns, [_run(run) for run in result.runs], left=("model", "type", "cache"))
    rows = [
        (name, f"{value:.3f}", "measured" if name in result.measured_families else "by its class")
        for name, value in result.bandwidth_efficiency.items()
    ]
    print_table("", ("family", "part of the bandwidth", "known"), rows, left=("family", "known"))
    prompts = result.prompt_operations_per_second / 1e9
    layer, token = result.seconds_per_layer * 1e6, result.seconds_per_token * 1e6
    more = f", a token {token:.0f} µs beside its layers" if token else ""
    print(f"a layer costs {layer:.0f} µs beside its bytes{more}; prompts run at {prompts:.0f} GFLOP/s")
    print(f"the fit is within {result.worst_error:.1%} of its own runs; kept in {result.store}")


def _run(run: "CalibrationRun") -> tuple[str, ...]:
    size, speed = f"{run.bytes / 2**20:.0f}", f"{run.tokens_per_second:.2f}"
    return (run.name, run.type, run.cache_type, str(run.layers), size, str(run.depth), speed)
