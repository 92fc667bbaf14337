"""One level of a sweep: quantized, compared with the base, timed, recorded. `jobs.sweep` walks over them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.core.progress import Advance, progress_bar
from pennyweight.evaluation.base_logits import CompactBase, write_base
from pennyweight.evaluation.divergence import Divergence, compare
from pennyweight.evaluation.engine import cut
from pennyweight.evaluation.journal import key_of
from pennyweight.evaluation.sweep import LevelFile, LevelSpeed, SweepRow, sweep_row
from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.jobs.scoring import (
    EvaluationOptions,
    Identity,
    Metric,
    Reading,
    divergence_metrics,
    identify,
    logits_engine,
    noise_of,
    protocol,
    record,
    text_hash,
)
from pennyweight.runtimes.speed import SpeedReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What every level of a sweep shares.

    Attributes:
        model, identity: the unquantized model, as it was asked for and as it is known.
        data: bytes of the text.
        directory: where files go; the base's predictions too.
        keep_files: leave the quantized files there.
    """

    model: str
    identity: Identity
    data: bytes
    directory: Path
    evaluation: EvaluationOptions
    seed: int
    keep_files: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What is done with each level's file beside scoring it; `key` says in words what, for the journal.

    Attributes:
        speed: (file type, its file) → speed; None for no speeds.
        write: its file → a line of text; None for no text.
    """

    key: str
    speed: Callable[[str, Path], LevelSpeed] | None = None
    write: Callable[[Path], str] | None = None


def base_of(subject: Subject) -> CompactBase:
    """The unquantized model's predictions on the text, from an earlier run of the same sweep or computed now.

    Raises: BadRequest where the text is shorter than two chunks.
    """
    evaluation = subject.evaluation
    parts = (subject.identity.fingerprint, text_hash(subject.data), evaluation.ctx, evaluation.chunks, subject.seed)
    path = subject.directory / f"base-{key_of(parts=parts)[:12]}.predictions"
    if not path.exists():
        with logits_engine(subject.model, evaluation) as engine:
            chunks = cut(engine.tokenize(subject.data), evaluation.ctx, evaluation.chunks)
            noise = noise_of(engine, chunks, evaluation)
            with progress_bar("base", len(chunks), "chunks") as advance:
                write_base(
                    path,
                    engine,
                    chunks,
                    arithmetic_noise=noise,
                    seed=subject.seed,
                    threads=evaluation.threads,
                    advance=advance,
                )
    return CompactBase(path)


def measure_level(type: str, subject: Subject, base: CompactBase, extras: Extras, advance: Advance) -> SweepRow:
    """Make the level, measure all of it, keep the numbers in the store. Raises: whatever any of these raise."""
    path = subject.directory / f"{Path(subject.identity.model).stem}-{type}.gguf"
    made = quantize(subject.model, type, path, QuantizeOptions(threads=subject.evaluation.threads))
    with logits_engine(str(path), subject.evaluation) as engine:
        divergence = compare(base, engine, threads=subject.evaluation.threads, advance=advance)
        said = protocol(engine)
    speed = extras.speed(type, path) if extras.speed else None
    file = LevelFile(
        type=type,
        output=str(path) if subject.keep_files else None,
        bytes=made.bytes,
        bits_per_weight=made.bits_per_weight,
        encode_weights_per_second=made.weights / made.seconds,
    )
    row = sweep_row(file, divergence, said, speed, extras.write(path) if extras.write else None)
    _keep(subject, path, divergence, speed, said)
    if not subject.keep_files:
        path.unlink()
    return row


def level_speed(report: SpeedReport, synthetic: str | None = None) -> LevelSpeed:
    """A report of llama-bench's two tests, prompt first, as a level has it."""
    prompt, decode = report.speeds
    return LevelSpeed(
        prompt_tok_s=prompt.mean,
        prompt_stdev=prompt.stdev,
        decode_tok_s=decode.mean,
        decode_stdev=decode.stdev,
        tensor_bytes=report.tensor_bytes,
        synthetic=synthetic,
    )


def _keep(subject: Subject, path: Path, divergence: Divergence, speed: LevelSpeed | None, said: str) -> None:
    """Record the level; a synthetic model's speed is not this model's, and stays out."""
    metrics = [*divergence_metrics(divergence, subject.identity.fingerprint)]
    if speed and not speed.synthetic:
        metrics.append(Metric(name="prompt_tok_s", value=speed.prompt_tok_s, stderr=speed.prompt_stdev))
        metrics.append(Metric(name="decode_tok_s", value=speed.decode_tok_s, stderr=speed.decode_stdev))
    reading = Reading(
        text_hash=text_hash(subject.data),
        protocol=said,
        n_ctx=divergence.n_ctx,
        chunks=divergence.chunks,
        engine=divergence.engine,
    )
    record(replace(identify(str(path)), model=subject.identity.model), metrics, reading, subject.seed)
