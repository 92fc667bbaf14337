"""`pennyweight imatrix MODEL --text F -o OUT.gguf`."""

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.output import print_json
from pennyweight.core.units import parse_tokens, show_seconds


def imatrix(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="`embedded`, a .gguf or a Hugging Face directory.")],
    text: Annotated[Path, typer.Option(help="Calibration text, any file; never the text you evaluate on.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="OUT.gguf, or OUT.dat for llama.cpp's older format.")],
    ctx: Annotated[str, typer.Option("-c", "--ctx", metavar="TOKENS", help="Tokens of one chunk.")] = "512",
    chunks: Annotated[int | None, typer.Option(min=1, help="Most chunks to read; default: all.")] = None,
    process_output: Annotated[bool, typer.Option("--process-output", help="Collect for output.weight too.")] = False,
    gpu_layers: Annotated[int, typer.Option("-ngl", help="Layers on the GPU, where this llama.cpp has one.")] = 0,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Collect an importance matrix: run the text through MODEL in llama.cpp and sum x² at every weight's input."""
    from pennyweight.jobs.imatrix import ImatrixOptions
    from pennyweight.jobs.imatrix import imatrix as job

    options = ImatrixOptions(
        ctx=parse_tokens(ctx), chunks=chunks, process_output=process_output, gpu_layers=gpu_layers, threads=threads
    )
    result = job(model, text, output, options)
    if json:
        print_json(result)
        return
    print(f"{result.output}: {result.entries} tensors over {result.chunks} chunks of {result.ctx} tokens")
    for note in result.notes:
        print(f"  note: {note}")
    print(f"  {show_seconds(result.seconds)}, {result.chunks * result.ctx / result.seconds:,.0f} tokens/s")
