"""One level of a sweep measured: made, compared with the base, timed, recorded. `jobs.sweep` walks over them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.core.errors import FormatError
from pennyweight.core.progress import Advance, progress_bar
from pennyweight.evaluation.base_logits import CompactBase, write_base
from pennyweight.evaluation.divergence import Divergence, compare
from pennyweight.evaluation.engine import cut
from pennyweight.evaluation.journal import key_of
from pennyweight.evaluation.sweep import LevelFile, LevelSpeed, SweepRow, sweep_row
from pennyweight.jobs.cost import measured_cost
from pennyweight.jobs.level import Level
from pennyweight.jobs.scoring import (
    EvaluationOptions,
    Identity,
    Reading,
    divergence_metrics,
    identify,
    logits_engine,
    noise_of,
    protocol,
    record,
    text_hash,
)
from pennyweight.jobs.speeds import level_metrics, record_speeds
from pennyweight.jobs.sweep_directory import SweepDirectory
from pennyweight.runtimes.llama_cpp import BUILD
from pennyweight.store.machine import versions


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
    directory: SweepDirectory
    evaluation: EvaluationOptions
    seed: int
    keep_files: bool

    def evaluation_of(self, level: Level) -> EvaluationOptions:
        """How the level is scored: as all of them, or by its own engine."""
        if level.engine in (None, self.evaluation.engine):
            return self.evaluation
        return replace(self.evaluation, engine=level.engine, gpu_layers=0)  # -ngl is the other engine's

    def final_path(self, level: Level) -> Path:
        """Where the level's file or directory stays."""
        return self.directory.path / level.file_name(self.identity.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What is done with each level that llama.cpp runs beside scoring it; `key` says in words what, for the journal.

    Attributes:
        speed: (level, its file) → speed; None for no speeds.
        write: its file → a line of text; None for no text.
    """

    key: str
    speed: Callable[[Level, Path], LevelSpeed] | None = None
    write: Callable[[Path], str] | None = None


def base_of(subject: Subject, evaluation: EvaluationOptions) -> CompactBase:
    """The unquantized model's predictions on the text, from an earlier run of the same sweep or computed now.

    Raises: BadRequest where the text is shorter than two chunks.
    """
    parts = (
        subject.identity.fingerprint,
        text_hash(subject.data),
        (evaluation.engine, evaluation.ctx, evaluation.chunks),
        subject.seed,
        (BUILD, versions()),
    )
    path = subject.directory.path / f"base-{key_of(parts=parts)[:12]}.predictions"
    if path.exists():
        try:
            return CompactBase(path)
        except FormatError:  # damaged: computed again, and replaced
            pass
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


def measure_level(level: Level, subject: Subject, base: CompactBase, extras: Extras, advance: Advance) -> SweepRow:
    """Make the level, measure all of it, keep the numbers in the store; `base` is of the level's own engine.

    Raises: OutputError where a file that no sweep wrote stands in the way; whatever any of these steps raise.
    """
    final, directory = subject.final_path(level), subject.directory
    if subject.keep_files:
        directory.require_own(final)
    with directory.workshop() as workshop:
        path = workshop / final.name
        row = _measured(level, path, subject, base, extras, advance)
        if subject.keep_files:
            directory.publish(path, final)
    return row


def _measured(
    level: Level, path: Path, subject: Subject, base: CompactBase, extras: Extras, advance: Advance
) -> SweepRow:
    """The level's row, from its file made at `path`; its numbers are in the store."""
    evaluation = subject.evaluation_of(level)
    with measured_cost() as cost:
        made = level.make(path)
    with logits_engine(str(path), evaluation) as engine:
        divergence = compare(base, engine, threads=evaluation.threads, advance=advance)
        said = protocol(engine)
    speed = extras.speed(level, path) if extras.speed and level.runs_in_llama_cpp else None
    text = extras.write(path) if extras.write and level.runs_in_llama_cpp else None
    file = LevelFile(
        type=level.name,
        output=str(subject.final_path(level)) if subject.keep_files else None,
        bytes=made.bytes,
        bits_per_weight=made.bits_per_weight,
        encode_weights_per_second=made.weights / made.seconds,
        base_fingerprint=subject.identity.fingerprint,
        make_seconds=cost.seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
    )
    row = sweep_row(file, divergence, said, speed, text)
    identity = replace(identify(str(path)), model=subject.identity.model, type=level.name)
    _keep(identity, subject, divergence, speed, said)
    return row


def _keep(level: Identity, subject: Subject, divergence: Divergence, speed: LevelSpeed | None, said: str) -> None:
    """Record the level; a synthetic model's speed is not this model's, and stays out."""
    reading = Reading(
        text_hash=text_hash(subject.data),
        protocol=said,
        n_ctx=divergence.n_ctx,
        chunks=divergence.chunks,
        engine=divergence.engine,
    )
    record(level, divergence_metrics(divergence, subject.identity.fingerprint), reading, subject.seed)
    if speed and not speed.synthetic:
        record_speeds(level, level_metrics(speed), speed.engine)
