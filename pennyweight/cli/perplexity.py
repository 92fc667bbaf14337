"""`pennyweight perplexity MODEL --text F`."""

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.output import print_json
from pennyweight.core.units import parse_tokens, show_seconds

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."
TEXT_HELP = "Text to score, a file of at least two chunks; or wikitext-2 or c4, fetched when online."


def perplexity(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    text: Annotated[Path, typer.Option(metavar="F", help=TEXT_HELP)],
    ctx: Annotated[str, typer.Option("-c", "--ctx", metavar="TOKENS", help="Tokens of one chunk.")] = "512",
    chunks: Annotated[int | None, typer.Option(min=1, help="Most chunks to score; default: all.")] = None,
    engine: Annotated[str, typer.Option(help="What runs the model: llama.cpp or torch.")] = "llama.cpp",
    save_base: Annotated[
        Path | None, typer.Option(metavar="F", help="Keep the predictions for `compare`, compactly.")
    ] = None,
    kl_divergence_base: Annotated[
        Path | None, typer.Option(metavar="F", help="Keep them in llama-perplexity's own format.")
    ] = None,
    gpu_layers: Annotated[int, typer.Option("-ngl", help="Layers on the GPU, where this llama.cpp has one.")] = 0,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a text with MODEL by llama-perplexity's protocol."""
    from pennyweight.jobs.perplexity import perplexity as job
    from pennyweight.jobs.scoring import EvaluationOptions

    options = EvaluationOptions(
        ctx=parse_tokens(ctx), chunks=chunks, engine=engine, gpu_layers=gpu_layers, threads=threads
    )
    result = job(model, text, options, save_base=save_base, kl_divergence_base=kl_divergence_base)
    if json:
        print_json(result)
        return
    print(f"{result.model}: perplexity {result.perplexity:.4f} ± {result.stderr:.4f}")
    print(f"  {result.tokens:,} tokens scored, {result.chunks} chunks of {result.n_ctx}, {result.engine}")
    if engine == "torch":
        from pennyweight.runtimes.torch_reference import DIFFERS_FROM_LLAMA_CPP

        print(f"  note: {DIFFERS_FROM_LLAMA_CPP}")
    for note in result.notes:
        print(f"  note: {note}")
    if result.base:
        print(f"  predictions kept in {result.base}")
    print(f"  {show_seconds(result.seconds)}, {result.chunks * result.n_ctx / result.seconds:,.0f} tokens/s")
