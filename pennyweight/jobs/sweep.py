"""sweep: one model at several levels: bytes, speed, perplexity and KL divergence of each, in one table and one report.

Every level is quantized from MODEL, scored on the same chunks of the text and compared with MODEL's own predictions,
which are computed once and kept in the output directory. What is done is done: a sweep that was killed goes on from its
journal, and a level that fails does not lose the others.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.journal import Journal, key_of
from pennyweight.evaluation.sweep import BaseLevel, Failure, Point, Provenance, SweepResult, SweepRow, walk
from pennyweight.evaluation.texts import text_bytes, text_name
from pennyweight.evaluation.throughput import measure_speed
from pennyweight.jobs.level import Level, file_type_level
from pennyweight.jobs.measure_level import Extras, Subject, base_of, measure_level
from pennyweight.jobs.recipe import USUAL as AS_USUALLY_FOLLOWED
from pennyweight.jobs.recipe import RecipeOptions
from pennyweight.jobs.recipe_level import recipe_level
from pennyweight.jobs.scoring import USUAL as AS_USUAL
from pennyweight.jobs.scoring import EvaluationOptions, identify, scoring_notes, text_hash
from pennyweight.jobs.speeds import level_speed
from pennyweight.jobs.sweep_directory import sweep_directory
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.report.files import write_report
from pennyweight.runtimes.llama_cpp import BUILD
from pennyweight.runtimes.speed import SpeedSettings
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware, last_level_cache_bytes, versions
from pennyweight.store.measurement import now

LEVELS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_S", "Q2_K")
"""The field's seven levels, from indistinguishable to an emergency."""

SPEED = SpeedSettings(repetitions=3)
"""llama-bench's tests, three times each: the error bars that decide come from the text, not from the clock."""

OnRow = Callable[[SweepRow, bool], None]
Walked = tuple[tuple[SweepRow, ...], tuple[Failure, ...]]


def ignore_rows(row: SweepRow, fresh: bool) -> None:
    """Nobody wants to hear of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """What to sweep and how.

    Attributes:
        types: file types, in the order of the table.
        recipes: recipes after them, followed as `following` says.
        speed: what to time of each level; None for no speeds.
        keep_files: leave the quantized files in the output directory.
        seed: of the sample that the stored predictions keep of improbable tokens.
    """

    types: tuple[str, ...] = LEVELS
    recipes: tuple[str, ...] = ()
    following: RecipeOptions = AS_USUALLY_FOLLOWED
    evaluation: EvaluationOptions = AS_USUAL
    speed: SpeedSettings | None = SPEED
    keep_files: bool = True
    seed: int = 0


USUAL = SweepOptions()


def sweep(
    model: str, text: str | Path, output: str | Path, options: SweepOptions = USUAL, *, on_row: OnRow = ignore_rows
) -> SweepResult:
    """Sweep MODEL over `options.types` on the file `text`; files and report go into the directory `output`.

    `on_row` hears of each level as it is done, and whether it was measured just now or found in the journal.

    Raises:
        BadRequest: MODEL is quantized already, the text is shorter than two chunks, a level is named twice.
        UnknownName: a level that does not exist. OutputError: the directory cannot be written.
    """
    settings = options.speed
    extras = Extras(
        key=f"speed {settings}",
        speed=(lambda _, path: level_speed(measure_speed(path, settings), settings=settings)) if settings else None,
    )
    levels = [*file_type_levels(model, options), *recipe_levels(model, text, options)]
    return sweep_with(levels, extras, model, text, output, options, on_row=on_row)


def file_type_levels(model: str, options: SweepOptions) -> list[Level]:
    """The levels of `options.types`. Raises: UnknownName."""
    return [file_type_level(model, type, options.evaluation.threads) for type in options.types]


def recipe_levels(model: str, text: str | Path, options: SweepOptions) -> list[Level]:
    """The levels of `options.recipes`, none of them calibrated on `text`. Raises: UnknownName, BadRequest."""
    held_back = text_bytes(text) if options.recipes else b""
    return [recipe_level(model, recipe, options.following, held_back) for recipe in options.recipes]


def sweep_with(
    levels: Sequence[Level],
    extras: Extras,
    model: str,
    text: str | Path,
    output: str | Path,
    options: SweepOptions = USUAL,
    *,
    on_row: OnRow = ignore_rows,
) -> SweepResult:
    """`sweep` over any `levels` (of `options.types` nothing is read), with `extras` in the place of its speeds."""
    started = time.perf_counter()
    _require_different(levels)
    _require_unquantized(model)
    data, identity = text_bytes(text), identify(model)
    open_store().close()  # a store that cannot be written is found out before the hours of measuring
    with sweep_directory(Path(output), identity.model, identity.fingerprint) as directory:
        subject = Subject(
            model=model,
            identity=identity,
            data=data,
            directory=directory,
            evaluation=options.evaluation,
            seed=options.seed,
            keep_files=options.keep_files,
        )
        rows, failures = _walk(levels, subject, extras, on_row)
        result = SweepResult(
            model=identity.model,
            base=_base_level(subject, rows[0]),
            rows=rows,
            failures=failures,
            provenance=_provenance(_shown_name(text), subject, rows[0]),
            seconds=time.perf_counter() - started,
            notes=scoring_notes(model, options.evaluation),
        )
        files = write_report(result, directory.path)
    return replace(result, files=tuple(map(str, files)))


def _walk(levels: Sequence[Level], subject: Subject, extras: Extras, on_row: OnRow) -> Walked:
    """Every level from the journal or measured now; a base is computed only where something is left to measure."""
    points = [Point(type=level.name, key=_key(level, subject, extras)) for level in levels]
    named = {level.name: level for level in levels}
    journal = Journal(subject.directory.journal, SweepRow, _still_there)
    left = [named[point.type] for point in points if journal.find(point.key) is None]
    base = cache(lambda evaluation: base_of(subject, evaluation))

    def measure(point: Point) -> SweepRow:
        level = named[point.type]
        return measure_level(level, subject, base(subject.evaluation_of(level)), extras, advance)

    evaluations = [subject.evaluation_of(level) for level in left]
    # The sweep's own engine first: where that cannot score the base, nothing of the sweep can be told.
    evaluations.sort(key=lambda evaluation: evaluation != subject.evaluation)
    chunks = len(base(evaluations[0]).chunks) if left else 0
    with progress_bar("sweep", len(left) * chunks, "chunks") as advance:
        return walk(points, measure, journal, on_row)


def _still_there(row: SweepRow) -> bool:
    """Whether a finished level's file stands where it was left; a level without one needs none."""
    if row.output is None:
        return True
    path = Path(row.output)
    return path.is_dir() or (path.is_file() and path.stat().st_size == row.bytes)


def _key(level: Level, subject: Subject, extras: Extras) -> str:
    """Everything a row depends on; threads and layers on the GPU change its speed, so they are in it too."""
    return key_of(
        type=level.name,
        level=level.key,
        model=subject.identity.fingerprint,
        text=text_hash(subject.data),
        evaluation=astuple(subject.evaluation_of(level)),
        seed=subject.seed,
        kept=str(subject.directory.path.resolve()) if subject.keep_files else None,
        extras=extras.key,
        versions=(BUILD, versions()),
        hardware=hardware(),
    )


def _require_different(levels: Sequence[Level]) -> None:
    names = [level.name for level in levels]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        raise BadRequest(f"{twice[0]} is asked for twice" if twice else "no level is asked for; --types Q8_0,Q4_K_M …")


def _require_unquantized(model: str) -> None:
    quantized = [t for t in open_checkpoint(model).tensors if t.format not in UNQUANTIZED]
    if quantized:
        raise BadRequest(
            f"{model} is quantized already ({quantized[0].name} is {quantized[0].format}); a sweep starts from the "
            "F16 or BF16 model"
        )


def _shown_name(text: str | Path) -> str:
    """A file's name without its directory, which is nobody else's; a named text in words."""
    name = text_name(text)
    return Path(text).name if name == str(text) else name


def _base_level(subject: Subject, row: SweepRow) -> BaseLevel:
    return BaseLevel(
        type=subject.identity.type,
        bytes=subject.identity.bytes,
        bits_per_weight=subject.identity.bits_per_weight,
        perplexity=row.base_perplexity,
        stderr=row.base_stderr,
        noise_floor=row.noise_floor,
    )


def _provenance(text: str, subject: Subject, row: SweepRow) -> Provenance:
    n_ctx = subject.evaluation.ctx
    return Provenance(
        text=text,
        text_hash=text_hash(subject.data),
        protocol=row.protocol,
        n_ctx=n_ctx,
        chunks=row.tokens // (n_ctx - 1 - n_ctx // 2),
        tokens=row.tokens,
        engine=row.engine,
        versions=versions(),
        hardware=hardware(),
        cache_bytes=last_level_cache_bytes(),
        fingerprint=subject.identity.fingerprint,
        seed=subject.seed,
        when=now(),
    )
