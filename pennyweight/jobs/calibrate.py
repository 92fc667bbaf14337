"""calibrate: short runs of generated models fit this machine's speed model, for `plan` to use.

On a machine without a GPU, or with the llama.cpp in this process, the processor is calibrated; with
`runtime="llama-bench"` whatever the llama-bench of the PATH runs on. Runs, in this order: many thin layers and few wide
ones of one family (bandwidth and arithmetic against the cost of a layer), one model of each other family, one behind a
long context for each type of cache. Disk and time are bounded: the models are written one at a time and removed. Each
run is kept when it is done; a second call goes on after an interrupted one (`calibrate_journal`).
"""

from dataclasses import dataclass, replace
from functools import partial

from pennyweight.core.errors import BadRequest, PennyweightError, UnknownName
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.throughput import model_speed
from pennyweight.jobs.calibrate_journal import CalibrationJournal, MeasuredRun
from pennyweight.jobs.calibrate_tasks import IN_PROCESS, WEIGHTS_PER_SQUARE, Task, config_of, tasks_of
from pennyweight.pipeline.synthetic import synthetic_gguf
from pennyweight.planner.calibration import CachePair, DecodeRun, PromptRun, fit_rates
from pennyweight.planner.calibration_store import save_calibration
from pennyweight.planner.card_names import find_cards
from pennyweight.planner.cards import Card
from pennyweight.planner.detect import detect
from pennyweight.planner.detect_host import detect_host, measured
from pennyweight.planner.footprint import Family, family_of
from pennyweight.planner.host import host_rates
from pennyweight.planner.probe import Probe
from pennyweight.planner.rates import Rates, card_rates
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_cpp import BUILD, Model
from pennyweight.runtimes.llama_tools import LLAMA_BENCH, run_llama_bench
from pennyweight.runtimes.speed import SpeedReport, SpeedSettings
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware

RUNTIMES = (IN_PROCESS, LLAMA_BENCH)

Done = tuple[Task, MeasuredRun]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRun:
    """One run: what was decoded, and how fast."""

    name: str
    type: str
    cache_type: str
    layers: int
    bytes: int
    depth: int
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateResult:
    """The constants that were fitted, and to what.

    Attributes:
        device, runtime, build: what was calibrated.
        bandwidth: bytes/s that efficiencies are parts of; from `bandwidth_source`.
        bandwidth_efficiency: format family → part of the bandwidth at which its weights are read.
        cache_efficiency: the same of the cache, by its type's family.
        seconds_per_layer: what a decoder block costs beside its bytes.
        seconds_per_token: what a token costs beside its blocks; 0 where no run tells it.
        prompt_operations_per_second: of a prompt's matrix products.
        prompt_seconds_per_layer: what a decoder block costs each micro-batch of a prompt beside them.
        measured_families: those that were run; the others keep the ratio of their class.
        worst_error: largest relative error of the fit on its own runs.
        resumed_runs: how many of the runs an interrupted calibration had left.
    """

    device: str
    runtime: str
    build: str
    bandwidth: float
    bandwidth_source: str
    bandwidth_efficiency: dict[str, float]
    cache_efficiency: dict[str, float]
    seconds_per_layer: float
    seconds_per_token: float
    prompt_operations_per_second: float
    prompt_seconds_per_layer: float
    measured_families: tuple[str, ...]
    worst_error: float
    resumed_runs: int
    runs: tuple[CalibrationRun, ...]
    store: str


def calibrate(*, quick: bool = False, runtime: str = IN_PROCESS, threads: int | None = None) -> CalibrateResult:
    """Fit this machine's speed model and keep it in the store.

    Args:
        quick: smaller models, fewer families; under a minute on two cores.
        runtime: `llama.cpp`, in this process, or the `llama-bench` of the PATH.
        threads: of the processor; None leaves it to the runtime.

    Raises: UnknownName; Missing (no llama-bench); OutputError (no space, no store); what the runtime raises.
    """
    if runtime not in RUNTIMES:
        raise UnknownName.among("runtime", runtime, RUNTIMES)
    tasks = list(tasks_of(quick, runtime))
    settings = SpeedSettings(threads=threads, repetitions=2 if quick else 3)
    journal = CalibrationJournal(runtime, settings)
    done: list[Done] = []
    with progress_bar("calibrate", len(tasks), "runs") as advance:
        for task in tasks:
            done.append((task, journal.run(task, partial(_run, task, runtime, settings))))
            advance(1)
    report = done[0][1]
    device, prior, bandwidth_source = _device(report.backend)
    rates = _fit(done, prior)
    engine = f"{runtime} {BUILD if runtime == IN_PROCESS else report.build}"
    with open_store() as store:
        save_calibration(store, device, engine, rates)
        path = str(store.path)
    journal.close()
    return CalibrateResult(
        device=device,
        runtime=runtime,
        build=report.build,
        bandwidth=rates.bandwidth,
        bandwidth_source=bandwidth_source,
        bandwidth_efficiency={family.value: value for family, value in rates.efficiency},
        cache_efficiency={family.value: value for family, value in rates.cache_efficiency},
        seconds_per_layer=rates.seconds_per_layer,
        seconds_per_token=rates.seconds_per_token,
        prompt_operations_per_second=rates.prompt_flops,
        prompt_seconds_per_layer=rates.prompt_seconds_per_layer,
        measured_families=tuple(dict.fromkeys(family_of(task.type).value for task, _ in done)),
        resumed_runs=journal.found,
        worst_error=max(_error(task, made, rates) for task, made in done if not task.depth),
        runs=tuple(_shown(task, made) for task, made in done),
        store=path,
    )


def _run(task: Task, runtime: str, base: SpeedSettings) -> SpeedReport:
    settings = replace(
        base,
        prompt_tokens=task.prompt,
        generated_tokens=16 if runtime == IN_PROCESS else 64,
        type_k=task.cache_type,
        type_v=task.cache_type,
        depth=task.depth,
        flash_attention=True if task.cache_type != "f16" else None,
    )
    with synthetic_gguf(config_of(task), "calibration", get_file_type(task.type)) as path:
        if runtime == LLAMA_BENCH:
            return run_llama_bench(path, settings)
        with Model.load(path, n_gpu_layers=-1) as model:
            path.unlink()  # llama.cpp holds it open: killed from here on, we leave nothing on the disk
            return model_speed(model, settings)


def _device(backend: str) -> tuple[str, Rates, str]:
    """Name, constants before the fit, and where their bandwidth is from."""
    if backend.upper().startswith(("CPU", "BLAS")):
        host = measured(detect_host(Probe()))
        return hardware(), host_rates(host), host.source
    card = _card(backend)
    return card.name, card_rates(card), f"data sheet of {card.name}"


def _card(backend: str) -> Card:
    """`CUDA (NVIDIA GeForce RTX 4090)`, or where the runtime names no card, the one that is found here."""
    named = backend.partition("(")[2].rstrip(")")
    try:
        return find_cards(named)[0]
    except PennyweightError as error:
        found = detect(Probe()).cards
        if not found:
            raise BadRequest(f"{backend} names no card whose bandwidth is known ({error})") from error
        return found[0].card


def _fit(done: list[Done], prior: Rates) -> Rates:
    runs = [_decode(task, made) for task, made in done if not task.cache_heads]
    cached = [_decode(task, made) for task, made in done if task.cache_heads]
    pairs = [CachePair(shallow=a, deep=b) for a, b in zip(cached[::2], cached[1::2], strict=True)]
    return fit_rates(runs, prior, pairs=pairs, prompts=_prompts(done, prior), source="short runs on this machine")


def _decode(task: Task, made: MeasuredRun) -> DecodeRun:
    config = config_of(task)
    row = 2 * config.head_count_kv * config.head_length * (2 if task.cache_type == "f16" else 34 / 32)
    return DecodeRun(
        family=family_of(task.type),
        nbytes=made.bytes,
        layers=task.layers,
        seconds=1 / made.decode_tok_s,
        cache_family=family_of(task.cache_type),
        cache_bytes=task.layers * row * task.depth,
    )


def _prompts(done: list[Done], prior: Rates) -> list[PromptRun]:
    return [_prompt(task, made.prompt_tok_s, prior) for task, made in done if task.prompt]


def _prompt(task: Task, speed: float, prior: Rates) -> PromptRun:
    config = config_of(task)
    weights = task.layers * WEIGHTS_PER_SQUARE * config.embedding_length**2
    attention = 2 * task.layers * config.head_count * config.head_length * task.prompt**2 / prior.attention_share
    return PromptRun(
        family=family_of(task.type),
        operations=2 * weights * task.prompt + attention,
        layers=task.layers,
        seconds=task.prompt / speed,
    )


def _error(task: Task, made: MeasuredRun, rates: Rates) -> float:
    run = _decode(task, made)
    fitted = rates.seconds_per_token + run.layers * rates.seconds_per_layer
    fitted += rates.read_seconds(run.nbytes, ((Family(run.family), 1.0),))
    return abs(fitted / run.seconds - 1)


def _shown(task: Task, made: MeasuredRun) -> CalibrationRun:
    return CalibrationRun(
        name=task.name,
        type=task.type,
        cache_type=task.cache_type,
        layers=task.layers,
        bytes=made.bytes,
        depth=task.depth,
        tokens_per_second=made.decode_tok_s,
    )
