"""Speeds as a sweep's levels and the store have them: a protocol of their own, no text, the error of a mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from pennyweight.evaluation.sweep import LevelSpeed
from pennyweight.jobs.scoring import Identity, Metric, Timing, record_each
from pennyweight.runtimes.speed import LLAMA_BENCH_DEFAULTS, Speed, SpeedReport, SpeedSettings

PROMPT, DECODE = "prompt_tok_s", "decode_tok_s"
"""Metrics of the store: tokens of a prompt read in a second, tokens written in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedMetric:
    """One speed to keep: tokens per second over `repetitions`, `stdev` of a single run, what was timed, in words."""

    name: str
    mean: float
    stdev: float
    repetitions: int
    protocol: str

    @property
    def stderr(self) -> float | None:
        """Standard error of the mean; one repetition says nothing of its error."""
        return self.stdev / sqrt(self.repetitions) if self.repetitions > 1 else None


def protocol(speed: Speed, report: SpeedReport, settings: SpeedSettings) -> str:
    """`llama-bench: tg128, 5 repetitions, 2 threads, CPU, F16 KV`, and what else differs from the defaults."""
    usual = LLAMA_BENCH_DEFAULTS
    cache = " and ".join(dict.fromkeys((settings.type_k, settings.type_v))).upper()
    parts = [f"{len(speed.samples)} repetitions", f"{report.threads} threads", report.backend, f"{cache} KV"]
    if settings.flash_attention is not None:
        parts.append(f"flash attention {'on' if settings.flash_attention else 'off'}")
    if (settings.n_batch, settings.n_ubatch) != (usual.n_batch, usual.n_ubatch):
        parts.append(f"batches of {settings.n_batch} in {settings.n_ubatch}")
    if settings.gpu_layers != usual.gpu_layers and not report.backend.startswith("CPU"):
        parts.append(f"{settings.gpu_layers} layers on the GPU")
    return f"{report.protocol}: {speed.test}, {', '.join(parts)}"


def engine_name(runtime: str, report: SpeedReport) -> str:
    """`llama.cpp b11549 (AVX2 FMA)`: runtime, build and instruction set, as the store keeps them."""
    return f"{runtime} {report.build} ({report.instruction_set})"


def level_speed(
    report: SpeedReport, synthetic: str | None = None, settings: SpeedSettings = LLAMA_BENCH_DEFAULTS
) -> LevelSpeed:
    """A report of llama-bench's two tests in this process, prompt first, as a level has it."""
    prompt, decode = report.speeds
    return LevelSpeed(
        prompt_tok_s=prompt.mean,
        prompt_stdev=prompt.stdev,
        decode_tok_s=decode.mean,
        decode_stdev=decode.stdev,
        tensor_bytes=report.tensor_bytes,
        repetitions=len(decode.samples),
        prompt_protocol=protocol(prompt, report, settings),
        decode_protocol=protocol(decode, report, settings),
        engine=engine_name("llama.cpp", report),
        synthetic=synthetic,
    )


def level_metrics(speed: LevelSpeed) -> tuple[TimedMetric, ...]:
    """A level's two speeds, to keep."""
    n = speed.repetitions
    prompt, decode = (speed.prompt_tok_s, speed.prompt_stdev), (speed.decode_tok_s, speed.decode_stdev)
    return (
        TimedMetric(name=PROMPT, mean=prompt[0], stdev=prompt[1], repetitions=n, protocol=speed.prompt_protocol),
        TimedMetric(name=DECODE, mean=decode[0], stdev=decode[1], repetitions=n, protocol=speed.decode_protocol),
    )


def report_metrics(report: SpeedReport, settings: SpeedSettings, remark: str = "") -> Iterator[TimedMetric]:
    """Every test of a report, to keep; `remark` ends its protocol."""
    for speed in report.speeds:
        yield TimedMetric(
            name=PROMPT if speed.is_prompt else DECODE,
            mean=speed.mean,
            stdev=speed.stdev,
            repetitions=len(speed.samples),
            protocol=protocol(speed, report, settings) + remark,
        )


def record_speeds(model: Identity, speeds: Sequence[TimedMetric], engine: str, seed: int | None = None) -> None:
    """Keep speeds of `model` in the measurement store; `seed`: of its weights, where they are random.

    Raises: OutputError, FormatError, BadRequest of the store.
    """
    measured = (
        (
            Metric(name=speed.name, value=speed.mean, stderr=speed.stderr),
            Timing(protocol=speed.protocol, engine=engine),
        )
        for speed in speeds
    )
    record_each(model, measured, seed)
