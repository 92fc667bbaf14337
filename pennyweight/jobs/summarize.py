"""summarize: a paper in N bullets that name their pages, in one prompt where it fits, else part by part."""

import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, PennyweightError
from pennyweight.jobs.bullets import Bullet
from pennyweight.jobs.cost import MemoryMeter
from pennyweight.jobs.fit import Fit, Predicted
from pennyweight.jobs.scoring import Metric, Reading, identify, record, text_hash
from pennyweight.jobs.speaking import (
    SpeakingOptions,
    speaker,
    vocabulary_of,
)
from pennyweight.jobs.summary_outline import outline
from pennyweight.jobs.summary_work import Watch, Work
from pennyweight.models.catalogue import find
from pennyweight.pipeline.paper.document import Paper
from pennyweight.pipeline.paper.read import read_paper
from pennyweight.runtimes.llama_cpp import Sampling
from pennyweight.store.database import open_store

MOST_BULLETS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryOptions:
    """What to make of the paper.

    Attributes:
        bullets: exactly so many.
        references: read the list of references too.
        temperature: 0 takes the likeliest tokens. seed: None draws one.
    """

    bullets: int = 5
    references: bool = False
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What it took, beside what was predicted.

    Attributes:
        seconds: of reading and writing, loading not included.
        memory_bytes: what this process held at its peak beyond what it held before the model was loaded.
    """

    seconds: float
    memory_bytes: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryResult:
    """The bullets and what they cost.

    Attributes:
        pages: of the paper; `paper_tokens`: of its text.
        parts: prompts that the text took; 1 where it fitted. slots: how many of them were read side by side.
        prompt_tok_s, decode_tok_s: over all prompts.
        seconds_to_first_token, seconds_to_first_bullet: from the call, loading included: of the first note or bullet,
            and of the summary's own first bullet, complete.
        predicted: None where nothing can be said of this architecture.
        notes: what was left out, and what a person should know.
    """

    paper: str
    pages: int
    paper_tokens: int
    model: str
    bullets: tuple[Bullet, ...]
    parts: int
    slots: int
    n_ctx: int
    prompt_tokens: int
    output_tokens: int
    prompt_tok_s: float | None
    decode_tok_s: float | None
    seconds_to_first_token: float
    seconds_to_first_bullet: float
    seconds_in_all: float
    predicted: Predicted | None
    measured: Measured
    engine: str
    placement: str
    seed: int
    notes: tuple[str, ...]


USUAL, LOADING, UNWATCHED = SummaryOptions(), SpeakingOptions(), Watch()


def summarize(
    paper: str | Path | Paper,
    model: str,
    options: SummaryOptions = USUAL,
    loading: SpeakingOptions = LOADING,
    watch: Watch = UNWATCHED,
) -> SummaryResult:
    """Summarize PAPER (a file, or one that was read) with MODEL; predicted and measured go into the measurement store.

    Raises: BadRequest, FormatError for a paper that cannot be read; DoesNotFit, before anything is loaded, for a
        context that this machine or this model has no room for; and what loading MODEL raises.
    """
    started = time.perf_counter()
    _check(options, loading)
    _require_file(model)
    fit = Fit.of(model, loading, splits=True)
    if loading.ctx is not None:
        fit.require(loading.ctx)
    read = paper if isinstance(paper, Paper) else read_paper(paper, references=options.references)
    open_store().close()  # a store that cannot be written is found out before the minutes of reading
    with vocabulary_of(open_checkpoint(model)) as vocabulary:
        outlined = outline(read, vocabulary, fit, loading.ctx, options.bullets)
    fit = replace(fit, slots=outlined.slots)
    predicted = fit.predict(outlined.n_ctx, outlined.tokens)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    meter = MemoryMeter()
    layers = fit.gpu_layers(outlined.n_ctx)
    with speaker(model, replace(loading, ctx=outlined.n_ctx, gpu_layers=layers, slots=outlined.slots)) as loaded:
        watch.plan(outlined, predicted, f"{loaded.engine}: {loaded.placement}")
        work = Work(loaded, outlined, Sampling(temperature=options.temperature, seed=seed), watch, started)
        bullets = work.summary(options.bullets)
        result = SummaryResult(
            paper=read.source,
            pages=read.page_count,
            paper_tokens=outlined.paper_tokens,
            model=model,
            bullets=bullets,
            parts=len(outlined.parts),
            slots=outlined.slots,
            n_ctx=loaded.n_ctx,
            prompt_tokens=work.tally.prompt_tokens,
            output_tokens=work.tally.output_tokens,
            prompt_tok_s=_rate(work.tally.prompt_tokens, work.tally.prompt_seconds),
            decode_tok_s=_rate(work.tally.decode_tokens, work.tally.decode_seconds),
            seconds_to_first_token=work.first_token or 0.0,
            seconds_to_first_bullet=work.first_bullet or 0.0,
            seconds_in_all=time.perf_counter() - started,
            predicted=predicted,
            measured=Measured(
                seconds=work.seconds,
                memory_bytes=meter.more_bytes,
                prompt_tokens=work.tally.prompt_tokens,
                output_tokens=work.tally.output_tokens,
            ),
            engine=loaded.engine,
            placement=loaded.placement,
            seed=seed,
            notes=(*read.notes, *loaded.notes, *fit.notes),
        )
    try:
        _keep(result, read, loading)
    except PennyweightError as error:  # a disk that is full by now takes nothing from the bullets
        return replace(result, notes=(*result.notes, f"not kept in the measurement store: {error}"))
    return result


def _check(options: SummaryOptions, loading: SpeakingOptions) -> None:
    if not 1 <= options.bullets <= MOST_BULLETS:
        raise BadRequest(f"{options.bullets} bullets; 1 to {MOST_BULLETS} are wanted")
    if loading.engine != "llama.cpp":
        raise BadRequest("summarize runs in llama.cpp; the torch engine is for `run`")


def _require_file(model: str) -> None:
    """Raises: BadRequest for a published name, which says which model and not which file."""
    known = find(model) if "/" not in model and not Path(model).exists() else None
    if known:
        raise BadRequest(
            f"{model} is a published name and no file; --auto plans for this machine and finds or makes the file, "
            f"or give one yourself: a .gguf, or hf.co/{known.repository}-GGUF:Q4_K_M"
        )


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens and seconds else None


def _keep(result: SummaryResult, paper: Paper, loading: SpeakingOptions) -> None:
    """What was measured, and beside it what was predicted."""
    measured = {
        "summary_seconds": result.measured.seconds,
        "summary_memory_bytes": float(result.measured.memory_bytes),
        "summary_prompt_tok_s": result.prompt_tok_s,
        "summary_decode_tok_s": result.decode_tok_s,
    }
    if result.predicted:
        measured |= {
            "summary_seconds_predicted": result.predicted.seconds,
            "summary_memory_bytes_predicted": float(result.predicted.memory_bytes),
            "summary_prompt_tok_s_predicted": result.predicted.prompt_tok_s,
            "summary_decode_tok_s_predicted": result.predicted.decode_tok_s,
        }
    reading = Reading(
        text_hash=text_hash("\f".join(page.text for page in paper.pages).encode()),
        protocol=(
            f"summarize: {result.prompt_tokens} prompt and {result.output_tokens} output tokens, "
            f"{result.parts} parts, cache {loading.type_k}/{loading.type_v}, {result.placement}"
        ),
        n_ctx=result.n_ctx,
        chunks=result.parts,
        engine=result.engine,
    )
    metrics = [Metric(name=name, value=value) for name, value in measured.items() if value is not None]
    record(identify(result.model), metrics, reading, seed=result.seed)
