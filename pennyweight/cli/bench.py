"""`pennyweight bench MODEL`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.layers import layers
from pennyweight.cli.output import print_json

if TYPE_CHECKING:
    from pennyweight.jobs.bench import BenchResult

MODEL_HELP = (
    "`embedded`, a .gguf, a Hugging Face directory or repository; with --synthetic NAME:TYPE (Qwen3-8B:Q4_K_M)."
)


def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    prompt: Annotated[int, typer.Option("-p", "--n-prompt", min=0, help="Tokens of the prompt test; 0: none.")] = 512,
    generate: Annotated[int, typer.Option("-n", "--n-gen", min=0, help="Tokens of the decode test; 0: none.")] = 128,
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", min=1, help="Timed runs of each test.")] = 5,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Measure random weights in NAME's shapes: nothing is downloaded.")
    ] = False,
    runtime: Annotated[
        str, typer.Option(help="`llama.cpp`, in this process; `llama-bench` or `llama-server`: those on the PATH.")
    ] = "llama.cpp",
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: the runtime's.")] = None,
    gpu_layers: Annotated[
        str, typer.Option("-ngl", metavar="N|auto|all", help="Layers on the GPU. Default: what the runtime sees fit.")
    ] = "auto",
    cache_type_k: Annotated[str, typer.Option("-ctk", metavar="TYPE", help="What keys are stored in.")] = "f16",
    cache_type_v: Annotated[str, typer.Option("-ctv", metavar="TYPE", help="What values are stored in.")] = "f16",
    flash_attention: Annotated[str, typer.Option("-fa", metavar="on|off|auto", help="Flash attention.")] = "auto",
    batch: Annotated[int, typer.Option("-b", min=1, help="Tokens of one call.")] = 2048,
    micro_batch: Annotated[int, typer.Option("-ub", min=1, help="Tokens computed at once.")] = 512,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure prompt and decode speed as llama-bench does, of any model: with --synthetic one nobody has downloaded."""
    from pennyweight.jobs.bench import bench as job
    from pennyweight.runtimes.speed import SpeedSettings

    settings = SpeedSettings(
        prompt_tokens=prompt,
        generated_tokens=generate,
        repetitions=repetitions,
        threads=threads,
        gpu_layers=layers(gpu_layers),
        type_k=cache_type_k,
        type_v=cache_type_v,
        flash_attention=three_way(flash_attention),
        n_batch=batch,
        n_ubatch=micro_batch,
    )
    result = job(model, settings, synthetic=synthetic, runtime=runtime)
    if json:
        print_json(result)
    else:
        _show(result)


def three_way(text: str) -> bool | None:
    """`on`, `off`, `auto` of -fa. Raises: typer.BadParameter."""
    words = {"on": True, "1": True, "off": False, "0": False, "auto": None}
    if text.lower() not in words:
        raise typer.BadParameter(f"-fa is {text!r}; wanted on, off or auto")
    return words[text.lower()]


def _show(result: "BenchResult") -> None:
    """llama-bench's Markdown table, with the columns that say what ran it."""
    size, count = result.bytes / 2**20, result.parameters / 1e6
    shared = (
        f"{result.description}{' (synthetic)' if result.synthetic else ''}",
        f"{size:.2f} MiB" if size < 1024 else f"{size / 1024:.2f} GiB",
        f"{count:.2f} M" if count < 1000 else f"{count / 1000:.2f} B",
        result.backend,
        str(result.threads),
    )
    rows = [
        (
            *shared,
            f"{row.runtime} {row.build}",
            row.instruction_set,
            row.test,
            f"{row.tokens_per_second:.2f} ± {row.stdev:.2f}",
        )
        for row in result.rows
    ]
    _print_markdown(("model", "size", "params", "backend", "threads", "runtime", "instructions", "test", "t/s"), rows)
    for note in result.notes:
        print(f"note: {note}")


def _print_markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    left = {"model", "backend", "runtime", "instructions"}
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]

    def line(cells: tuple[str, ...]) -> str:
        padded = (c.ljust(w) if name in left else c.rjust(w) for name, c, w in zip(columns, cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    print(line(columns))
    print(
        f"| {' | '.join('-' * (w - 1) + ('-' if n in left else ':') for n, w in zip(columns, widths, strict=True))} |"
    )
    for row in rows:
        print(line(row))
