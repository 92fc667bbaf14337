"""A sweep: one model at several levels, each measured on the same text against the same base.

The data of a sweep, and the walk over its points: a point that is in the journal is not measured again, and one that
fails does not lose the others. What a point *does* (quantize, compare, time) is the caller's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pennyweight.core.errors import PennyweightError
from pennyweight.evaluation.divergence import Divergence
from pennyweight.evaluation.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelFile:
    """What making one level gave; see `SweepRow`."""

    type: str
    output: str | None
    bytes: int
    bits_per_weight: float
    encode_weights_per_second: float
    base_fingerprint: str
    make_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSpeed:
    """Speed of one level.

    Attributes:
        prompt_tok_s, prompt_stdev, decode_tok_s, decode_stdev: tokens per second over `repetitions`.
        prompt_protocol, decode_protocol: what was timed and how, in words; engine: runtime and build that ran it.
        tensor_bytes: of the model that was timed.
        synthetic: what was timed, where it is not the model itself (`random blocks, 0.3 G weights`); None where it is.
    """

    prompt_tok_s: float
    prompt_stdev: float
    decode_tok_s: float
    decode_stdev: float
    tensor_bytes: int
    repetitions: int
    prompt_protocol: str
    decode_protocol: str
    engine: str
    synthetic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One level; speeds are None where they were not measured. Units as in `Divergence` and `LevelSpeed`.

    Attributes:
        type: file type or recipe.
        output: the file (or directory), or None where it was removed after measuring.
        bytes: size of the file, header and tokenizer included; bits_per_weight: of its tensors.
        encode_weights_per_second: weights ÷ wall seconds of making it, reading and writing included.
        perplexity, stderr: and its (unpaired) standard error.
        speed_bytes: tensor bytes of what was timed, and `synthetic`, what that was if not this file.
        base_perplexity, base_stderr, noise_floor: of the base it was compared with, on the same `tokens` scored tokens.
        base_fingerprint: of that base's tensors.
        text: what the model at this level wrote, where that was asked for.
        make_seconds, peak_memory_bytes: what making it cost: wall time, and the most memory the process held meanwhile.
    """

    type: str
    output: str | None
    bytes: int
    bits_per_weight: float
    encode_weights_per_second: float
    prompt_tok_s: float | None
    prompt_stdev: float | None
    decode_tok_s: float | None
    decode_stdev: float | None
    speed_bytes: int | None
    synthetic: str | None
    perplexity: float
    stderr: float
    delta_ln_ppl: float
    delta_ln_ppl_stderr: float
    kld_mean: float
    kld_stderr: float
    kld_median: float
    kld_p99: float
    same_top: float
    storage_error: float | None
    tokens: int
    base_perplexity: float
    base_stderr: float
    base_fingerprint: str
    noise_floor: float | None
    engine: str
    protocol: str
    text: str | None = None
    make_seconds: float | None = None
    peak_memory_bytes: int | None = None

    @property
    def is_distinguishable(self) -> bool:
        """Whether the loss of perplexity is further from 0 than two of its standard errors."""
        return abs(self.delta_ln_ppl) > 2 * self.delta_ln_ppl_stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A level that could not be measured, and why, on one line."""

    type: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLevel:
    """The unquantized model that all levels are compared with; its tensors' bytes, its perplexity ± stderr.

    `noise_floor` is its mean KL divergence from itself by the same route: a smaller divergence says nothing.
    """

    type: str
    bytes: int
    bits_per_weight: float
    perplexity: float
    stderr: float
    noise_floor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the numbers come from: enough to repeat them.

    Attributes:
        text: the file; text_hash: SHA-256 of its bytes as scored.
        tokens: scored tokens, over `chunks` chunks of `n_ctx`.
        cache_bytes: the processor's last-level cache, where it is known.
    """

    text: str
    text_hash: str
    protocol: str
    n_ctx: int
    chunks: int
    tokens: int
    engine: str
    versions: str
    hardware: str
    cache_bytes: int | None
    fingerprint: str
    seed: int
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """All levels of one model, in the order asked for, and the files that tell of them.

    `notes`: what a person should know: a GPU that was not used, a context beyond the trained one.
    """

    model: str
    base: BaseLevel
    rows: tuple[SweepRow, ...]
    failures: tuple[Failure, ...]
    provenance: Provenance
    seconds: float
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def indistinguishable(self) -> tuple[str, ...]:
        """Levels whose loss of perplexity is within two standard errors of none."""
        return tuple(row.type for row in self.rows if not row.is_distinguishable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A level to measure, and the key under which the journal knows its result."""

    type: str
    key: str


def walk(
    points: Sequence[Point],
    measure: Callable[[Point], SweepRow],
    journal: Journal[SweepRow],
    on_row: Callable[[SweepRow, bool], None] = lambda row, fresh: None,
) -> tuple[tuple[SweepRow, ...], tuple[Failure, ...]]:
    """Measure every point that the journal lacks; `on_row` hears of each row and whether it was measured just now.

    Raises: the error of the first point where every point failed, for then there is nothing to show.
    """
    rows: list[SweepRow] = []
    failures: list[Failure] = []
    first: Exception | None = None
    for point in points:
        known = journal.find(point.key)
        try:
            row = known or measure(point)
        except Exception as error:  # noqa: BLE001 -- hours of other points must not die of this one; it is reported
            first = first or error
            failures.append(Failure(type=point.type, reason=_reason(error)))
            continue
        if known is None:
            journal.add(point.key, row)
        rows.append(row)
        on_row(row, known is None)
    if first and not rows:
        raise first
    return tuple(rows), tuple(failures)


def sweep_row(
    file: LevelFile, divergence: Divergence, protocol: str, speed: LevelSpeed | None, text: str | None
) -> SweepRow:
    """A row from its parts."""
    return SweepRow(
        type=file.type,
        output=file.output,
        bytes=file.bytes,
        bits_per_weight=file.bits_per_weight,
        encode_weights_per_second=file.encode_weights_per_second,
        prompt_tok_s=speed.prompt_tok_s if speed else None,
        prompt_stdev=speed.prompt_stdev if speed else None,
        decode_tok_s=speed.decode_tok_s if speed else None,
        decode_stdev=speed.decode_stdev if speed else None,
        speed_bytes=speed.tensor_bytes if speed else None,
        synthetic=speed.synthetic if speed else None,
        perplexity=divergence.perplexity,
        stderr=divergence.perplexity_stderr,
        delta_ln_ppl=divergence.delta_ln_ppl,
        delta_ln_ppl_stderr=divergence.delta_ln_ppl_stderr,
        kld_mean=divergence.kld_mean,
        kld_stderr=divergence.kld_stderr,
        kld_median=divergence.kld_median,
        kld_p99=divergence.kld_p99,
        same_top=divergence.same_top,
        storage_error=divergence.storage_error,
        tokens=divergence.tokens,
        base_perplexity=divergence.base_perplexity,
        base_stderr=divergence.base_perplexity_stderr,
        base_fingerprint=file.base_fingerprint,
        noise_floor=divergence.noise_floor,
        engine=divergence.engine,
        protocol=protocol,
        text=text,
        make_seconds=file.make_seconds,
        peak_memory_bytes=file.peak_memory_bytes,
    )


def _reason(error: Exception) -> str:
    """One line: our own errors speak for themselves; anything else says its kind too."""
    line = " ".join(str(error).split())
    return line if isinstance(error, PennyweightError) else f"{type(error).__name__}: {line}"
