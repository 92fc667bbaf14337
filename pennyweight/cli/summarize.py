"""`pennyweight summarize PAPER -m MODEL`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.layers import LAYERS_HELP, layers
from pennyweight.cli.output import print_json
from pennyweight.cli.seed import MOST_SEED
from pennyweight.core.units import parse_tokens, show_bytes, show_seconds

if TYPE_CHECKING:
    from pennyweight.jobs.fit import Predicted
    from pennyweight.jobs.summarize import SummaryResult
    from pennyweight.jobs.summary_outline import Outline

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."
CTX_HELP = "Context; default: what the paper needs, as far as the model and this machine have it."

AUTO_HELP = "Plan for this machine, find or make the file, then summarize; MODEL may be a published name (Qwen3-14B)."


def summarize(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="A PDF, Markdown, HTML or text.")],
    model: Annotated[str, typer.Option("-m", "--model", metavar="MODEL", help=MODEL_HELP)],
    bullets: Annotated[int, typer.Option("-n", "--bullets", help="Exactly so many.")] = 5,
    ctx: Annotated[str | None, typer.Option("-c", "--ctx", metavar="TOKENS", help=CTX_HELP)] = None,
    gpu_layers: Annotated[str, typer.Option("-ngl", metavar="N|auto|all", help=LAYERS_HELP)] = "auto",
    cache_type_k: Annotated[str, typer.Option("-ctk", metavar="TYPE", help="What keys are stored in.")] = "f16",
    cache_type_v: Annotated[str, typer.Option("-ctv", metavar="TYPE", help="What values are stored in.")] = "f16",
    flash_attention: Annotated[str, typer.Option("-fa", metavar="on|off|auto", help="Flash attention.")] = "auto",
    temperature: Annotated[float, typer.Option("--temp", min=0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option("-s", "--seed", min=0, max=MOST_SEED, help="Of the draws; default: a new one.")
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help=AUTO_HELP)] = False,
    references: Annotated[bool, typer.Option("--references", help="Read the list of references too.")] = False,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Summarize a paper in bullets that name their pages; says first whether it fits, and at the end what it took."""
    from pennyweight.cli.bench import three_way
    from pennyweight.jobs.speaking import SpeakingOptions
    from pennyweight.jobs.summarize import SummaryOptions
    from pennyweight.jobs.summarize import summarize as job
    from pennyweight.jobs.summary_work import Watch

    options = SummaryOptions(bullets=bullets, references=references, temperature=temperature, seed=seed)
    loading = SpeakingOptions(
        ctx=None if ctx is None else parse_tokens(ctx),
        gpu_layers=layers(gpu_layers),
        type_k=cache_type_k,
        type_v=cache_type_v,
        flash_attention=three_way(flash_attention),
        threads=threads,
    )
    read = None
    if auto:
        from pennyweight.jobs.carry_out import for_summary
        from pennyweight.pipeline.paper.read import read_paper

        read = read_paper(paper, references=references)
        model, loading = for_summary(model, read.page_count, loading, _say)
    shown = Watch(text=lambda text: None if json else print(text, end="", flush=True), stage=_say, plan=_show_plan)
    result = job(read or paper, model, options, loading, shown)
    if json:
        print_json(result)
    _show_cost(result)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _show_plan(outline: "Outline", predicted: "Predicted | None", placement: str) -> None:
    notes = f"{outline.notes} note{'s' * (outline.notes > 1)} of each"
    at_once = "at once" if len(outline.parts) == 1 else f"in {len(outline.parts)} parts, {notes}"
    _say(f"{placement}, context {outline.n_ctx:,}")
    _say(f"{outline.paper_tokens:,} tokens, read {at_once}")
    if predicted:
        _say(
            f"expected: {show_seconds(predicted.seconds)} ({predicted.speed_basis}), "
            f"{show_bytes(predicted.memory_bytes)} ({predicted.memory_basis})"
        )


def _show_cost(result: "SummaryResult") -> None:
    """Predicted and measured side by side, on stderr."""
    for note in result.notes:
        _say(f"note: {note}")
    p, m = result.predicted, result.measured
    rows = [
        ("", "predicted", "measured"),
        ("seconds", show_seconds(p.seconds) if p else "-", show_seconds(m.seconds)),
        ("memory", show_bytes(p.memory_bytes) if p else "-", show_bytes(m.memory_bytes)),
        ("prompt tokens", f"{p.prompt_tokens:,}" if p else "-", f"{m.prompt_tokens:,}"),
        ("output tokens", f"{p.output_tokens:,}" if p else "-", f"{m.output_tokens:,}"),
        ("prompt tokens/s", f"{p.prompt_tok_s:,.0f}" if p else "-", _rate(result.prompt_tok_s)),
        ("decode tokens/s", f"{p.decode_tok_s:,.1f}" if p else "-", _rate(result.decode_tok_s)),
    ]
    for label, predicted, measured in rows:
        _say(f"{label:16} {predicted:>12} {measured:>12}")
    _say(
        f"first token after {show_seconds(result.seconds_to_first_token)}, first bullet after "
        f"{show_seconds(result.seconds_to_first_bullet)}, all of it {show_seconds(result.seconds_in_all)}"
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
