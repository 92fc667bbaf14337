"""bench: prompt and decode speed of a model, or of one that nobody has downloaded (`Qwen3-8B:Q4_K_M`, synthetic)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.checkpoints.json_file import read_json
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.throughput import model_speed, total_tokens
from pennyweight.jobs.notes import context_note
from pennyweight.jobs.runnable import runnable
from pennyweight.jobs.scoring import identify, shown_name
from pennyweight.jobs.speeds import engine_name, record_speeds, report_metrics
from pennyweight.models import catalogue
from pennyweight.models.config import ModelConfig, config_from_json
from pennyweight.models.embedded import EMBEDDED
from pennyweight.pipeline.synthetic import SEED, synthetic_gguf
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_server import LLAMA_SERVER, run_llama_server
from pennyweight.runtimes.llama_tools import LLAMA_BENCH, run_llama_bench
from pennyweight.runtimes.speed import LLAMA_BENCH_DEFAULTS, SpeedReport, SpeedSettings
from pennyweight.runtimes.unused_gpu import unused_gpu
from pennyweight.store.database import open_store

IN_PROCESS = "llama.cpp"
RUNTIMES = (IN_PROCESS, LLAMA_BENCH, LLAMA_SERVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One test, and what ran it: a row says by itself what its numbers mean.

    Attributes:
        test: `pp512`: a prompt of 512 tokens; `tg128`: 128 tokens one by one.
        tokens_per_second, stdev: mean and sample standard deviation over the repetitions.
        samples: tokens per second of each repetition.
        runtime, build, instruction_set: the program, its build, and the processor extensions it uses.
    """

    test: str
    tokens_per_second: float
    stdev: float
    samples: tuple[float, ...]
    runtime: str
    build: str
    instruction_set: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """All tests of one model.

    Attributes:
        model: MODEL as it was given.
        description: what llama.cpp calls it.
        synthetic: whether its weights were random.
        bytes: of all tensors.
        parameters: number of weights.
        runtime: `llama.cpp` (in this process), `llama-bench` or `llama-server`.
        backend, threads: where it ran.
        settings: what was asked for.
        notes: what a person should know: a GPU that was not used, a context beyond the trained one.
    """

    model: str
    description: str
    synthetic: bool
    bytes: int
    parameters: int
    runtime: str
    backend: str
    threads: int
    settings: SpeedSettings
    rows: tuple[BenchRow, ...]
    notes: tuple[str, ...]


def bench(
    model: str,
    settings: SpeedSettings = LLAMA_BENCH_DEFAULTS,
    *,
    synthetic: bool = False,
    runtime: str = IN_PROCESS,
) -> BenchResult:
    """Measure how fast MODEL reads a prompt and writes; the speeds go into the measurement store too.

    Args:
        model: `embedded`, a .gguf, a checkpoint directory, a repository; with `synthetic`, NAME:TYPE, where NAME is a
            published model's (`Qwen3-8B`), `embedded`, a config.json or a directory with one.
        synthetic: write a model of NAME's shapes with random weights, measure it, remove it.
        runtime: `llama.cpp`, in this process, or the `llama-bench` or `llama-server` of the PATH.

    Raises:
        UnknownName, BadRequest, Missing, OutputError (no space, or no store), and what opening MODEL raises.
    """
    if runtime not in RUNTIMES:
        raise UnknownName.among("runtime", runtime, RUNTIMES)
    open_store().close()  # a store that cannot be written is found out before the minutes of measuring
    with _synthetic(model) if synthetic else _real(model) as path:
        known = replace(identify(str(path)), model=_stored_name(model, synthetic))
        longest = max(settings.prompt_tokens, settings.generated_tokens)
        too_long = context_note(open_checkpoint(str(path)), longest)
        report = _measure(path, settings, runtime, synthetic)
    remark = ", random weights" if synthetic else ""
    metrics = list(report_metrics(report, settings, remark))
    record_speeds(known, metrics, engine_name(runtime, report), seed=SEED if synthetic else None)
    return BenchResult(
        model=model,
        description=report.description,
        synthetic=synthetic,
        bytes=report.tensor_bytes,
        parameters=report.parameters,
        runtime=runtime,
        backend=report.backend,
        threads=report.threads,
        settings=settings,
        rows=tuple(_rows(report, runtime)),
        notes=tuple(note for note in (_idle_gpu(runtime, settings), too_long) if note),
    )


def _measure(path: Path, settings: SpeedSettings, runtime: str, synthetic: bool) -> SpeedReport:
    if runtime == LLAMA_BENCH:
        return run_llama_bench(path, settings)
    total = total_tokens(settings)
    if runtime == LLAMA_SERVER:
        with progress_bar("bench", total, "tokens") as advance:
            return run_llama_server(path, settings, advance=advance)
    with (
        Model.load(path, n_gpu_layers=settings.gpu_layers) as model,
        progress_bar("bench", total, "tokens") as advance,
    ):
        if synthetic:
            path.unlink()  # llama.cpp holds it open: killed from here on, we leave nothing on the disk
        return model_speed(model, settings, advance=advance)


def _stored_name(model: str, synthetic: bool) -> str:
    """What the store calls it: a file's or directory's name without the path, which is nobody else's."""
    if synthetic:
        return f"{Path(model.rpartition(':')[0]).resolve().name} (synthetic)"
    return shown_name(model)


def _rows(report: SpeedReport, runtime: str) -> Iterator[BenchRow]:
    for speed in report.speeds:
        yield BenchRow(
            test=speed.test,
            tokens_per_second=speed.mean,
            stdev=speed.stdev,
            samples=speed.samples,
            runtime=runtime,
            build=report.build,
            instruction_set=report.instruction_set,
        )


def _idle_gpu(runtime: str, settings: SpeedSettings) -> str | None:
    """A GPU that lay idle although nobody asked for the CPU (`-ngl 0`)."""
    return unused_gpu() if runtime == IN_PROCESS and settings.gpu_layers else None


@contextmanager
def _real(model: str) -> Iterator[Path]:
    name = model.partition(":")[0].lower()
    if any(name == published.name.lower() for published in catalogue.ALL) and not Path(model).exists():
        raise BadRequest(f"{model} is a published model that is not here; --synthetic measures one of its shapes")
    with runnable(model) as path:
        yield path


@contextmanager
def _synthetic(model: str) -> Iterator[Path]:
    name, _, type_name = model.rpartition(":")
    if not name:
        raise BadRequest(f"--synthetic wants NAME:TYPE, got {model!r}; write, for instance, Qwen3-8B:Q4_K_M")
    file_type = get_file_type(type_name)
    config = named_config(name)
    with synthetic_gguf(config, Path(name).resolve().name, file_type) as path:
        yield path


def named_config(name: str) -> ModelConfig:
    """The config of `embedded`, of a config.json or a directory with one, or of a published model.

    Raises: UnknownName, FormatError, UnsupportedModel.
    """
    path = EMBEDDED if name == "embedded" else Path(name)
    file = path / "config.json" if path.is_dir() else path
    return config_from_json(read_json(file)) if file.is_file() else catalogue.get(name).config
