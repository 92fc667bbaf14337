"""`pennyweight compare BASE MODEL --text F [--max-kld X]`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.cli.perplexity import TEXT_HELP
from pennyweight.core.units import parse_tokens, show_seconds

if TYPE_CHECKING:
    from pennyweight.evaluation.divergence import Divergence
    from pennyweight.jobs.compare import CompareResult


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The unquantized model, or a file of its predictions.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model to judge, as in `quantize`.")],
    text: Annotated[Path, typer.Option(metavar="F", help=TEXT_HELP)],
    max_kld: Annotated[float | None, typer.Option(min=0, help="Exit 1 where the mean divergence exceeds this.")] = None,
    ctx: Annotated[str, typer.Option("-c", "--ctx", metavar="TOKENS", help="Tokens of one chunk.")] = "512",
    chunks: Annotated[int | None, typer.Option(min=1, help="Most chunks to score; default: all.")] = None,
    engine: Annotated[str, typer.Option(help="What runs the models: llama.cpp or torch.")] = "llama.cpp",
    gpu_layers: Annotated[int, typer.Option("-ngl", help="Layers on the GPU, where this llama.cpp has one.")] = 0,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the KL divergence of MODEL from BASE, and the paired change of perplexity, on one text."""
    from pennyweight.jobs.compare import compare as job
    from pennyweight.jobs.scoring import EvaluationOptions

    options = EvaluationOptions(
        ctx=parse_tokens(ctx), chunks=chunks, engine=engine, gpu_layers=gpu_layers, threads=threads
    )
    result = job(base, model, text, options)
    if json:
        print_json(result, inline="divergence")
    else:
        _show(result)
    if max_kld is not None:
        result.require_within(max_kld)


def _show(result: "CompareResult") -> None:
    found = result.divergence
    floor = "not known" if found.noise_floor is None else f"{found.noise_floor:.1g}"
    rows = [
        ("KL divergence, mean", f"{found.kld_mean:.6f} ± {found.kld_stderr:.6f}", f"nats; noise floor {floor}"),
        ("median, 90 %", f"{found.kld_median:.6f}, {found.kld_p90:.6f}", ""),
        ("99 %, 99.9 %, most", f"{found.kld_p99:.4f}, {found.kld_p999:.4f}, {found.kld_max:.4f}", ""),
        ("same likeliest token", f"{100 * found.same_top:.2f} ± {100 * found.same_top_stderr:.2f} %", ""),
        ("RMS Δp", f"{100 * found.rms_delta_p:.3f} %", "of the token that came"),
        ("Δ ln perplexity", f"{found.delta_ln_ppl:+.6f} ± {found.delta_ln_ppl_stderr:.6f}", "paired, token by token"),
        ("perplexity, base", f"{found.base_perplexity:.4f} ± {found.base_perplexity_stderr:.4f}", ""),
        ("perplexity, model", f"{found.perplexity:.4f} ± {found.perplexity_stderr:.4f}", ""),
    ]
    print_table(f"{result.model} against {result.base}", ("figure", "value", "note"), rows, left=("figure", "note"))
    print(f"{found.tokens:,} tokens scored, {found.chunks} chunks of {found.n_ctx}, {found.engine}{_stored(found)}")
    for note in result.notes:
        print(f"note: {note}")
    print(show_seconds(result.seconds))


def _stored(found: "Divergence") -> str:
    """What is known of the error that storing the base brings; nothing of a live one, which has none."""
    if found.storage_error is None:
        return ", base stored with an error that is not known"
    return f", base stored to within {found.storage_error:.1g} nats" if found.storage_error else ""
