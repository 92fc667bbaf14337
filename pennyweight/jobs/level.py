"""One level of a sweep: quantized, compared with the base, timed, recorded. `jobs.sweep` walks over them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

from pennyweight.core.errors import FormatError, OutputError
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
    Reading,
    divergence_metrics,
    identify,
    logits_engine,
    noise_of,
    protocol,
    record,
    text_hash,
)
from pennyweight.runtimes.llama_cpp import BUILD
from pennyweight.runtimes.speed import LLAMA_BENCH_DEFAULTS, SpeedReport, SpeedSettings
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware, versions
from pennyweight.store.measurement import Measurement, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What every level of a sweep shares.

    Attributes:
        model, identity: the unquantized model, as it was asked for and as it is known.
        data: bytes of the text.
        directory: where files go; the base's predictions too.
        keep_files: leave the quantized files there.
        own_files: names of files there that an earlier sweep wrote, which this one may replace.
    """

    model: str
    identity: Identity
    data: bytes
    directory: Path
    evaluation: EvaluationOptions
    seed: int
    keep_files: bool
    own_files: frozenset[str]


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
    parts = (
        subject.identity.fingerprint,
        text_hash(subject.data),
        (evaluation.engine, evaluation.ctx, evaluation.chunks),
        subject.seed,
        (BUILD, versions()),
    )
    path = subject.directory / f"base-{key_of(parts=parts)[:12]}.predictions"
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


def measure_level(type: str, subject: Subject, base: CompactBase, extras: Extras, advance: Advance) -> SweepRow:
    """Make the level, measure all of it, keep the numbers in the store.

    Raises: OutputError where a file that no sweep wrote stands in the way; whatever any of these steps raise.
    """
    final = subject.directory / f"{Path(subject.identity.model).stem}-{type}.gguf"
    if subject.keep_files:
        _require_own(final, subject)
    with _workshop(subject.directory, type) as workshop:
        path = workshop / final.name
        row = _measured(type, path, final, subject, base, extras, advance)
        if subject.keep_files:
            _publish(path, final, subject)
    return row


@contextmanager
def _workshop(directory: Path, type: str) -> Iterator[Path]:
    """A directory of our own for a level's file until it is measured; it goes with all that is left in it."""
    try:
        workshop = Path(tempfile.mkdtemp(prefix=f"unfinished-{type}-", dir=directory))
    except OSError as error:
        raise OutputError(f"cannot make a directory in {directory}: {error.strerror}") from error
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _require_own(path: Path, subject: Subject) -> None:
    if (path.exists() or path.is_symlink()) and path.name not in subject.own_files:
        raise OutputError(f"{path} exists and is not of this directory's sweeps; remove it, or sweep into another")


def _publish(path: Path, final: Path, subject: Subject) -> None:
    _require_own(final, subject)  # it may have come while we measured
    try:
        path.replace(final)
    except OSError as error:
        raise OutputError(f"cannot rename onto {final}: {error.strerror}") from error


def _measured(
    type: str, path: Path, final: Path, subject: Subject, base: CompactBase, extras: Extras, advance: Advance
) -> SweepRow:
    """The level's file made at `path`, to stay as `final` if files are kept; its numbers are in the store."""
    made = quantize(subject.model, type, path, QuantizeOptions(threads=subject.evaluation.threads))
    with logits_engine(str(path), subject.evaluation) as engine:
        divergence = compare(base, engine, threads=subject.evaluation.threads, advance=advance)
        said = protocol(engine)
    speed = extras.speed(type, path) if extras.speed else None
    file = LevelFile(
        type=type,
        output=str(final) if subject.keep_files else None,
        bytes=made.bytes,
        bits_per_weight=made.bits_per_weight,
        encode_weights_per_second=made.weights / made.seconds,
    )
    row = sweep_row(file, divergence, said, speed, extras.write(path) if extras.write else None)
    _keep(subject, path, divergence, speed, said)
    return row


def level_speed(
    report: SpeedReport, synthetic: str | None = None, settings: SpeedSettings = LLAMA_BENCH_DEFAULTS
) -> LevelSpeed:
    """A report of llama-bench's two tests, prompt first, as a level has it; `settings` say how K and V were stored."""
    prompt, decode = report.speeds
    cache = " and ".join(dict.fromkeys((settings.type_k, settings.type_v))).upper()
    how = f"{len(decode.samples)} repetitions, {report.threads} threads, {report.backend}, {cache} KV"
    return LevelSpeed(
        prompt_tok_s=prompt.mean,
        prompt_stdev=prompt.stdev,
        decode_tok_s=decode.mean,
        decode_stdev=decode.stdev,
        tensor_bytes=report.tensor_bytes,
        repetitions=len(decode.samples),
        prompt_protocol=f"llama-bench: {prompt.test}, {how}",
        decode_protocol=f"llama-bench: {decode.test}, {how}",
        engine=f"llama.cpp {report.build}",
        synthetic=synthetic,
    )


def _keep(subject: Subject, path: Path, divergence: Divergence, speed: LevelSpeed | None, said: str) -> None:
    """Record the level; a synthetic model's speed is not this model's, and stays out."""
    reading = Reading(
        text_hash=text_hash(subject.data),
        protocol=said,
        n_ctx=divergence.n_ctx,
        chunks=divergence.chunks,
        engine=divergence.engine,
    )
    level = replace(identify(str(path)), model=subject.identity.model)
    record(level, divergence_metrics(divergence, subject.identity.fingerprint), reading, subject.seed)
    if speed and not speed.synthetic:
        _keep_speed(level, speed)


def _keep_speed(level: Identity, speed: LevelSpeed) -> None:
    """A speed has a protocol of its own, and no text; one repetition says nothing of its error."""
    tests = (
        ("prompt_tok_s", speed.prompt_tok_s, speed.prompt_stdev, speed.prompt_protocol),
        ("decode_tok_s", speed.decode_tok_s, speed.decode_stdev, speed.decode_protocol),
    )
    when = now()
    with open_store() as store:
        store.record(
            Measurement(
                model=level.model,
                fingerprint=level.fingerprint,
                type=level.type,
                bytes=level.bytes,
                bits_per_weight=level.bits_per_weight,
                metric=metric,
                value=mean,
                stderr=stdev / sqrt(speed.repetitions) if speed.repetitions > 1 else None,
                protocol=said,
                engine=speed.engine,
                versions=versions(),
                hardware=hardware(),
                when=when,
            )
            for metric, mean, stdev, said in tests
        )
