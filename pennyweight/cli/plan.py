"""`pennyweight plan MODEL…`."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.layers import layers
from pennyweight.cli.output import print_json
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.units import parse_memory, parse_rate, parse_tokens

if TYPE_CHECKING:
    from pennyweight.jobs.plan import PlanOptions
    from pennyweight.planner.plan import Plan

MODEL_HELP = (
    "A published name (`Qwen3-8B`), a .gguf, a directory, a config.json, user/repo, hf.co/user/repo:TYPE; several to "
    "choose among."
)
ACCURACIES = {"normal": False, "high": True}


def plan(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help=MODEL_HELP)],
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="`RTX 3060 12GB`, `2x RTX 3090`, `M4 Max 64GB`. Default: found.")
    ] = None,
    vram: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory of a card given by figures: 12GB.")] = None,
    bandwidth: Annotated[str | None, typer.Option(metavar="GB/S", help="Its bandwidth: 360.")] = None,
    ram: Annotated[str | None, typer.Option(metavar="SIZE", help="Host memory: 32GB.")] = None,
    ram_bandwidth: Annotated[str | None, typer.Option(metavar="GB/S", help="Its bandwidth.")] = None,
    vram_margin: Annotated[str, typer.Option(metavar="SIZE", help="Memory of each card to leave alone.")] = "0",
    ctx: Annotated[
        str | None, typer.Option("-c", "--ctx", metavar="TOKENS", help="Per slot; 0: the model's. Default: the work's.")
    ] = None,
    type: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Only these; repeatable, or separated by commas.")
    ] = None,
    cache_type_k: Annotated[str | None, typer.Option("-ctk", metavar="TYPE", help="What keys are stored in.")] = None,
    cache_type_v: Annotated[str | None, typer.Option("-ctv", metavar="TYPE", help="What values are stored in.")] = None,
    flash_attention: Annotated[str, typer.Option("-fa", metavar="on|off", help="Flash attention.")] = "on",
    gpu_layers: Annotated[
        str, typer.Option("-ngl", metavar="N|auto|all", help="Layers on the card. Default: all that fit.")
    ] = "auto",
    cpu_moe: Annotated[int, typer.Option("--n-cpu-moe", help="Blocks whose experts stay on the host.")] = 0,
    slots: Annotated[int | None, typer.Option("-np", help="Requests at once. Default: the work's.")] = None,
    micro_batch: Annotated[int, typer.Option("-ub", min=1, help="Prompt tokens computed at once.")] = 512,
    workload: Annotated[str, typer.Option(metavar="W", help="chat, summarize, code, rag or batch.")] = "chat",
    pages: Annotated[int | None, typer.Option(help="Pages to summarize.")] = None,
    prompt: Annotated[int | None, typer.Option("-p", "--n-prompt", help="Tokens in, instead of the work's.")] = None,
    generate: Annotated[int | None, typer.Option("-n", "--n-gen", help="Tokens out, instead of the work's.")] = None,
    accuracy: Annotated[
        str | None, typer.Option(metavar="normal|high", help="Whether more bits are worth room. Default: the work's.")
    ] = None,
    runtime: Annotated[str, typer.Option(metavar="llama.cpp|vllm", help="Whose memory and speed.")] = "llama.cpp",
    utilization: Annotated[
        float, typer.Option("--gpu-memory-utilization", help="vLLM: the share of the card it may use.")
    ] = 0.9,
    parallel: Annotated[
        int | None, typer.Option("-tp", "--tensor-parallel-size", help="vLLM: cards that share each layer.")
    ] = None,
    cliff: Annotated[
        bool, typer.Option("--cliff", help="Draw decode speed against layers and size, to the knee.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="F.png", help="The same as a picture.")
    ] = None,
    carry: Annotated[
        bool, typer.Option("--do", help="Carry it out here: find or make the file, run it, hold the speeds against it.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody; headers read before are known.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object; `quantize --plan -` reads it.")] = False,
) -> None:
    """Say before any download what fits a card: which model and type, how fast, at what cost in quality, and why.

    Exit 1 where nothing fits, with what would have to change. `-c 32k` are tokens; `12GB` of memory are GiB, as cards
    are sold.
    """
    from pennyweight.jobs.plan import PlanOptions
    from pennyweight.jobs.plan import plan as job
    from pennyweight.jobs.plan_machine import MachineOptions
    from pennyweight.planner.request import Runtime
    from pennyweight.planner.workloads import WorkloadOptions

    if accuracy is not None and accuracy.lower() not in ACCURACIES:
        raise UnknownName.among("accuracy", accuracy, ACCURACIES)
    if runtime.lower() not in [known.value for known in Runtime]:
        raise UnknownName.among("runtime", runtime, [known.value for known in Runtime])
    if output and not cliff:
        raise BadRequest("-o writes the picture of --cliff; say --cliff too")
    if cliff and runtime.lower() == Runtime.VLLM.value:
        raise BadRequest("--cliff is of llama.cpp: vLLM leaves no layers on the host, it refuses to start")
    options = PlanOptions(
        machine=MachineOptions(
            gpu=gpu,
            vram=parse_memory(vram) if vram is not None else None,
            bandwidth=parse_rate(bandwidth) if bandwidth is not None else None,
            ram=parse_memory(ram) if ram is not None else None,
            ram_bandwidth=parse_rate(ram_bandwidth) if ram_bandwidth is not None else None,
            margin=parse_memory(vram_margin),
        ),
        work=WorkloadOptions(
            name=workload,
            pages=pages,
            prompt_tokens=prompt,
            output_tokens=generate,
            slots=slots,
            accurate=None if accuracy is None else ACCURACIES[accuracy.lower()],
        ),
        context=None if ctx is None else 0 if ctx.strip() == "0" else parse_tokens(ctx),
        types=tuple(name for text in type or () for name in text.replace(",", " ").split()),
        key_type=cache_type_k,
        value_type=cache_type_v,
        gpu_layers=None if (count := layers(gpu_layers)) < 0 else count,
        cpu_moe_layers=cpu_moe,
        micro_batch=micro_batch,
        flash_attention=_on(flash_attention),
        runtime=Runtime(runtime.lower()),
        utilization=utilization,
        tensor_parallel=parallel,
        offline=offline,
    )
    if carry and (len(models) > 1 or gpu or vram or options.runtime is not Runtime.LLAMA_CPP):
        raise BadRequest("--do carries out a plan of one model for this machine, in llama.cpp")
    if carry:
        from pennyweight.jobs.carry_out import here

        options = here(options)
    result = job(models, options)
    if json:
        print_json(result)
    else:
        _show(result, width())
    if cliff:
        _cliff(models, options, output, quiet=json)
    if result.chosen is None:
        raise typer.Exit(1)
    if carry:
        _carry_out(models[0], result)


def _carry_out(model: str, made: "Plan") -> None:
    """Predicted and measured side by side, on stderr."""
    from pennyweight.core.units import show_bytes
    from pennyweight.jobs.carry_out import SHORT, carry_out
    from pennyweight.runtimes.unused_gpu import unused_gpu

    if idle := unused_gpu():
        print(f"note: {idle}", file=sys.stderr)
    done = carry_out(model, made, lambda words: print(words, file=sys.stderr))
    prompt, decode = (speed.mean for speed in done.report.speeds)
    p = done.predicted
    rows = (
        ("", "predicted", "measured"),
        ("prompt tokens/s", f"{p.prompt_tok_s:,.1f}" if p else "-", f"{prompt:,.1f}"),
        ("decode tokens/s", f"{p.decode_tok_s:,.1f}" if p else "-", f"{decode:,.1f}"),
        ("memory", show_bytes(p.memory_bytes) if p else "-", show_bytes(done.memory_bytes)),
    )
    for label, predicted, measured in rows:
        print(f"{label:16} {predicted:>12} {measured:>12}", file=sys.stderr)
    print(
        f"{SHORT.prompt_tokens} prompt tokens and {SHORT.generated_tokens} written, from an empty context; the plan's "
        "own speeds are for its work",
        file=sys.stderr,
    )


def width() -> int:
    """Columns of the terminal: COLUMNS where it is set, as elsewhere."""
    return shutil.get_terminal_size().columns


def _show(result, columns: int) -> None:
    from pennyweight.report.plan_screen import screen

    for line in screen(result, columns, colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR")):
        print(line)


def _cliff(models: list[str], options: "PlanOptions", output: Path | None, *, quiet: bool) -> None:
    """The curve, on the terminal and as a picture."""
    from pennyweight.jobs.plan_cliff import cliff
    from pennyweight.report.plan_curve import layers_text, sizes_text, write_png

    found = cliff(models, options)
    if not quiet:
        drawn = (*layers_text(found.layers, width()), "", *sizes_text(found.sizes, found.room_bytes, width()))
        print("\n".join(("", found.title, *drawn)))
    if output:
        write_png(output, found.title, found.layers, found.sizes, found.room_bytes, found.size_bytes)
        print(f"{output}", file=sys.stderr if quiet else sys.stdout)


def _on(text: str) -> bool:
    if text.lower() not in ("on", "off", "auto"):
        raise UnknownName.among("-fa", text, ("on", "off", "auto"))
    return text.lower() != "off"
