"""compare: how far a model's predictions are from those of the model it was made from, token by token."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pennyweight.core.errors import BadRequest, Differs
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.base import BaseLogits, LiveBase
from pennyweight.evaluation.base_logits import MAGIC as COMPACT_MAGIC
from pennyweight.evaluation.base_logits import CompactBase
from pennyweight.evaluation.divergence import Divergence
from pennyweight.evaluation.divergence import compare as divergence_from
from pennyweight.evaluation.engine import cut, shared_chunks
from pennyweight.evaluation.logits_file import MAGIC as LLAMA_CPP_MAGIC
from pennyweight.evaluation.logits_file import LogitsFile
from pennyweight.evaluation.texts import text_bytes
from pennyweight.jobs.scoring import (
    USUAL,
    EvaluationOptions,
    Reading,
    Scorer,
    divergence_metrics,
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
class CompareResult:
    """How far MODEL is from BASE; `divergence` holds every figure, `seconds` the wall time of scoring both.

    `notes`: what a person should know: a GPU that was not used, a context beyond the trained one.
    """

    base: str
    model: str
    text_hash: str
    divergence: Divergence
    seconds: float
    notes: tuple[str, ...]

    def require_within(self, max_kld: float) -> None:
        """Raises: Differs where the mean divergence exceeds `max_kld` nats."""
        found = self.divergence
        if found.kld_mean > max_kld:
            raise Differs(
                f"{self.model} differs from {self.base}: mean KL divergence {found.kld_mean:.6f} ± "
                f"{found.kld_stderr:.6f} nats, wanted at most {max_kld:g}"
            )


def compare(base: str, model: str, text: str | Path, options: EvaluationOptions = USUAL) -> CompareResult:
    """The KL divergence of MODEL from BASE over the file `text`; it goes into the measurement store too.

    Args:
        base: a model, or a file of its predictions: of `perplexity --save-base`, or of llama-perplexity's
            `--kl-divergence-base`. Such a file must have been made from the same text.

    Raises: BadRequest where the two cut the text differently or have different vocabularies; OutputError; and what
        opening either raises. BadRequest too where `options.chunks` is not the count that such a file holds.
    """
    open_store().close()  # a store that cannot be written is found out before the minutes of scoring
    data, identity = text_bytes(text), identify(model)
    with logits_engine(model, options) as engine, _base(base, data, engine, options) as known:
        started = time.perf_counter()
        with progress_bar("compare", len(known.chunks), "chunks") as advance:
            found = divergence_from(known, engine, threads=options.threads, advance=advance)
        seconds = time.perf_counter() - started
        reading = Reading(
            text_hash=text_hash(data),
            protocol=protocol(engine),
            n_ctx=found.n_ctx,
            chunks=found.chunks,
            engine=found.engine,
        )
    is_file = _predictions(base) is not None
    base_mark = f"predictions in {Path(base).name}" if is_file else identify(base).fingerprint
    record(identity, divergence_metrics(found, base_mark), reading)
    return CompareResult(
        base=base,
        model=identity.model,
        text_hash=reading.text_hash,
        divergence=found,
        seconds=seconds,
        notes=scoring_notes(model, options),
    )


@contextmanager
def _base(base: str, data: bytes, engine: Scorer, options: EvaluationOptions) -> Iterator[BaseLogits]:
    stored = _predictions(base)
    if stored is not None:
        _require_same_text(base, stored, engine, data)
        _require_all_chunks(base, stored, options.chunks)
        yield stored
        return
    with logits_engine(base, options) as live:
        chunks = shared_chunks(live, engine, data, options.chunks)
        yield LiveBase(live, chunks, noise_of(live, chunks, options))


def _predictions(base: str) -> CompactBase | LogitsFile | None:
    """The file of predictions that BASE names, if it names one; told by its first bytes."""
    path = Path(base)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        magic = file.read(8)
    if magic == COMPACT_MAGIC:
        return CompactBase(path)
    return LogitsFile(path) if magic == LLAMA_CPP_MAGIC else None


def _require_same_text(base: str, stored: BaseLogits, engine: Scorer, data: bytes) -> None:
    """Raises: BadRequest where the file's tokens are not those of this text under this model's tokenizer."""
    n_ctx, count = stored.chunks.shape[1], len(stored.chunks)
    if n_ctx != engine.n_ctx:
        raise BadRequest(f"{base} has chunks of {n_ctx} tokens, this run reads {engine.n_ctx}; use -c {n_ctx}")
    tokens = cut(engine.tokenize(data), n_ctx, count)
    # llama-perplexity may have written BOS over a chunk's first token, which is never scored.
    if tokens.shape != stored.chunks.shape or (tokens[:, 1:] != stored.chunks[:, 1:]).any():
        raise BadRequest(f"{base} was made from another text or tokenizer; record it again with this text")


def _require_all_chunks(base: str, stored: BaseLogits, chunks: int | None) -> None:
    """Raises: BadRequest where another number of chunks is asked for than the file holds: it is scored whole."""
    count = len(stored.chunks)
    if chunks is not None and chunks != count:
        raise BadRequest(
            f"{base} holds {count} chunks and is scored whole, not {chunks}; leave --chunks out, or record it again "
            f"with --chunks {chunks}"
        )
