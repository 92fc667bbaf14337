"""perplexity: a text scored by a model, by llama-perplexity's protocol; its predictions kept as a base where asked."""

import time
from dataclasses import dataclass
from pathlib import Path

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.atomic import refuse_input
from pennyweight.core.errors import BadRequest, OutputError
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.base_logits import MAGIC as COMPACT_MAGIC
from pennyweight.evaluation.base_logits import write_base
from pennyweight.evaluation.engine import cut, with_bos
from pennyweight.evaluation.logits_file import MAGIC as LLAMA_CPP_MAGIC
from pennyweight.evaluation.logits_file import write_logits_file
from pennyweight.evaluation.perplexity import Overheard
from pennyweight.evaluation.texts import text_bytes
from pennyweight.jobs.scoring import (
    USUAL,
    EvaluationOptions,
    Metric,
    Reading,
    identify,
    logits_engine,
    noise_of,
    protocol,
    record,
    scoring_notes,
    text_hash,
)
from pennyweight.store.database import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityResult:
    """Perplexity ± its standard error over `tokens` scored tokens, and how they were scored.

    Attributes:
        base: the file that keeps the predictions, where one was asked for.
        seconds: wall time of scoring, loading not included.
        notes: what a person should know: a GPU that was not used, a context beyond the trained one.
    """

    model: str
    perplexity: float
    stderr: float
    tokens: int
    chunks: int
    n_ctx: int
    engine: str
    text_hash: str
    base: str | None
    seconds: float
    notes: tuple[str, ...]


def perplexity(
    model: str,
    text: str | Path,
    options: EvaluationOptions = USUAL,
    *,
    save_base: str | Path | None = None,
    kl_divergence_base: str | Path | None = None,
) -> PerplexityResult:
    """Score the file `text` with MODEL; the number goes into the measurement store too.

    Args:
        save_base: also keep the predictions in this file, compactly, for `compare`.
        kl_divergence_base: the same in llama-perplexity's own format, ten times larger.

    Raises: BadRequest (text shorter than two chunks, or unreadable), OutputError (where the file of predictions would
        replace MODEL, the text or anything that is not predictions, too), and what opening MODEL raises.
    """
    if save_base and kl_divergence_base:
        raise BadRequest("both --save-base and --kl-divergence-base; one file of predictions at a time")
    open_store().close()  # a store that cannot be written is found out before the minutes of scoring
    if kept := save_base or kl_divergence_base:
        _require_replaceable(Path(kept), model, text)
    data, identity = text_bytes(text), identify(model)
    with logits_engine(model, options) as engine:
        chunks = cut(engine.tokenize(data), options.ctx, options.chunks)
        started = time.perf_counter()
        with progress_bar("perplexity", len(chunks), "chunks") as advance:
            heard = Overheard(engine, options.threads)
            if save_base:
                noise = noise_of(engine, chunks, options)
                threads = options.threads
                write_base(Path(save_base), heard, chunks, arithmetic_noise=noise, threads=threads, advance=advance)
            elif kl_divergence_base:
                write_logits_file(Path(kl_divergence_base), heard, chunks, threads=options.threads, advance=advance)
            else:
                for logits in heard.scored_logits(with_bos(chunks, heard.bos)):
                    advance(len(logits))
            found = heard.perplexity()
        seconds = time.perf_counter() - started
        reading = Reading(
            text_hash=text_hash(data),
            protocol=protocol(engine),
            n_ctx=found.n_ctx,
            chunks=found.chunks,
            engine=found.engine,
        )
    record(identity, [Metric(name="perplexity", value=found.perplexity, stderr=found.stderr)], reading)
    return PerplexityResult(
        model=identity.model,
        perplexity=found.perplexity,
        stderr=found.stderr,
        tokens=found.tokens,
        chunks=found.chunks,
        n_ctx=found.n_ctx,
        engine=found.engine,
        text_hash=reading.text_hash,
        base=str(kept) if kept else None,
        seconds=seconds,
        notes=scoring_notes(model, options),
    )


def _require_replaceable(target: Path, model: str, text: str | Path) -> None:
    """Raises: OutputError where `target` is MODEL, the text, or any other file that is not of predictions."""
    refuse_input(target, [Path(text), *open_checkpoint(model).files])
    if not target.is_file():
        return
    try:
        with target.open("rb") as file:
            magic = file.read(len(COMPACT_MAGIC))
    except OSError as error:
        raise OutputError(f"cannot read what stands at {target}: {error.strerror}; write to another path") from error
    if magic not in (COMPACT_MAGIC, LLAMA_CPP_MAGIC):
        raise OutputError(f"{target} exists and is not a file of predictions; remove it, or write to another path")
