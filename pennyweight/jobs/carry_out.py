"""A plan carried out: its file found or made, run, and what was predicted held against what was measured."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.checkpoints.open import local_path
from pennyweight.core.errors import BadRequest, DoesNotFit, NotThere, OutputError
from pennyweight.core.progress import progress_bar
from pennyweight.core.units import show_bytes
from pennyweight.evaluation.throughput import model_speed, total_tokens
from pennyweight.jobs.cost import MemoryMeter
from pennyweight.jobs.fit import Fit, Predicted, Tokens
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.quantize import quantize
from pennyweight.jobs.scoring import identify
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.jobs.speeds import DECODE, PROMPT, TimedMetric, engine_name, record_speeds, report_metrics
from pennyweight.models.embedded import EMBEDDED
from pennyweight.planner.plan import Plan, PlanRow
from pennyweight.planner.workloads import WorkloadOptions
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.placement import gpus, placement
from pennyweight.runtimes.speed import SpeedReport, SpeedSettings
from pennyweight.runtimes.unused_gpu import unused_gpu
from pennyweight.store.database import open_store

Say = Callable[[str], None]

VARIABLE = "PENNYWEIGHT_MODELS"
"""Environment variable that names another directory for files that are made."""

SHORT = SpeedSettings(prompt_tokens=128, generated_tokens=32, repetitions=2)
"""Enough to hold a plan's speeds against; a benchmark is `bench`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedOut:
    """A plan's file and what it did in a short test.

    Attributes:
        placement: where every layer lived.
        report: speeds of reading `SHORT.prompt_tokens` and writing `SHORT.generated_tokens`, from an empty context.
        memory_bytes: that were held at most, beyond what was held before.
        predicted: the planner's numbers for this very test; None where the architecture cannot be planned. The plan's
            own are for its work: a longer prompt, and writing at that depth of context.
    """

    file: str
    placement: str
    report: SpeedReport
    memory_bytes: int
    predicted: Predicted | None


def summary_plan(model: str, pages: int, ctx: int | None) -> Plan:
    """The plan of summarizing `pages` pages with MODEL on what this llama.cpp can use here. Raises: as `plan`."""
    return plan(model, here(PlanOptions(work=WorkloadOptions(name="summarize", pages=max(1, pages)), context=ctx)))


def for_summary(
    model: str, pages: int, loading: SpeakingOptions, say: Say = lambda words: None
) -> tuple[str, SpeakingOptions]:
    """The file that a plan chooses for a paper of `pages` pages on this machine, found or made; how it is loaded.

    Raises: DoesNotFit where nothing fits; and as `file_of`.
    """
    made = summary_plan(model, pages, loading.ctx)
    chosen = chosen_of(made)
    if idle := unused_gpu():
        say(f"note: {idle}")
    say(f"planned for {made.card.name}: {chosen.type}, {show_bytes(chosen.weights_bytes)}: {made.reasons[0]}")
    return str(file_of(model, chosen, say)), loading_of(chosen, loading)


def here(options: PlanOptions) -> PlanOptions:
    """The same for the processor alone, where this llama.cpp cannot use a GPU."""
    return options if gpus() else replace(options, gpu_layers=0)


def chosen_of(made: Plan) -> PlanRow:
    """What was chosen. Raises: DoesNotFit, with what would change that; BadRequest for what only a server can load."""
    if made.chosen is None:
        raise DoesNotFit(f"nothing fits {made.card.name}; what would: {'; '.join(made.changes)}")
    if made.chosen.cpu_moe_layers:
        raise BadRequest(
            f"the plan leaves the experts of {made.chosen.cpu_moe_layers} blocks on the host, which llama.cpp in this "
            f"process is not asked to do; run {made.commands[-1]}"
        )
    return made.chosen


def file_of(model: str, chosen: PlanRow, say: Say = lambda words: None) -> Path:
    """The GGUF that was chosen: there already, made earlier, made now of a local checkpoint, or fetched.

    Downloads are huggingface_hub's: into its cache, resumed where they broke off, checked by their hashes.

    Raises: BadRequest where it is neither here nor on the hub, or the hub cannot be reached; and as `quantize`.
    """
    path = Path(model)
    if path.is_file():
        return path
    if path.is_dir() or model == "embedded":
        source = EMBEDDED if model == "embedded" else path
        return _made(source, _kept(chosen, None if model == "embedded" else path), chosen, say)
    repository = chosen.source or model
    if (kept := _kept(chosen)).is_file():
        say(f"{kept} was made earlier")
        return kept
    try:
        say(f"looking for {chosen.type} in hf.co/{repository}-GGUF")
        return local_path(f"hf.co/{repository}-GGUF:{chosen.type}")
    except NotThere as error:  # any other fault a second try would meet again
        say(f"none there ({_first_clause(error)}); fetching hf.co/{repository} to quantize it")
    return _made(local_path(repository), kept, chosen, say)


def loading_of(chosen: PlanRow, loading: SpeakingOptions) -> SpeakingOptions:
    """How the plan loads it; what was asked for by hand stays."""
    asked_cache = (loading.type_k, loading.type_v) != ("f16", "f16")
    return replace(
        loading,
        type_k=loading.type_k if asked_cache else chosen.key_type.lower(),
        type_v=loading.type_v if asked_cache else chosen.value_type.lower(),
        gpu_layers=chosen.layers_on_gpu if loading.gpu_layers < 0 else loading.gpu_layers,
    )


def carry_out(model: str, made: Plan, say: Say = lambda words: None) -> CarriedOut:
    """Find or make the plan's file, load it as planned, measure it; predicted and measured go into the store.

    Raises: as `file_of`, `Model.load`; OutputError for a store that cannot be written.
    """
    chosen = chosen_of(made)
    open_store().close()  # found out before the minutes of making
    path = file_of(model, chosen, say)
    settings = replace(
        SHORT,
        gpu_layers=chosen.layers_on_gpu,
        type_k=chosen.key_type.lower(),
        type_v=chosen.value_type.lower(),
    )
    predicted = _predicted(path, settings)
    meter = MemoryMeter()
    with Model.load(path, n_gpu_layers=chosen.layers_on_gpu) as loaded:
        where = placement(loaded)
        say(f"{path}: {where}")
        with progress_bar("measuring", total_tokens(settings), "tokens") as advance:
            report = model_speed(loaded, settings, advance=advance)
    done = CarriedOut(
        file=str(path),
        placement=where,
        report=report,
        memory_bytes=meter.more_bytes,
        predicted=predicted,
    )
    _keep(done, settings)
    return done


def _predicted(path: Path, settings: SpeedSettings) -> Predicted | None:
    loading = SpeakingOptions(gpu_layers=settings.gpu_layers, type_k=settings.type_k, type_v=settings.type_v)
    tokens = Tokens(prompt_tokens=settings.prompt_tokens, output_tokens=settings.generated_tokens)
    return Fit.of(str(path), loading).predict(tokens.prompt_tokens + tokens.output_tokens, tokens)


def _keep(done: CarriedOut, settings: SpeedSettings) -> None:
    """The speeds as `bench` keeps its own, and beside them what was predicted."""
    measured = list(report_metrics(done.report, settings))
    words = (
        f"plan --do: {settings.prompt_tokens} prompt and {settings.generated_tokens} output tokens, {done.placement}"
    )
    others: dict[str, float] = {"memory_bytes": float(done.memory_bytes)}
    if done.predicted:
        others |= {
            f"{PROMPT}_predicted": done.predicted.prompt_tok_s,
            f"{DECODE}_predicted": done.predicted.decode_tok_s,
            "memory_bytes_predicted": float(done.predicted.memory_bytes),
        }
    measured += [
        TimedMetric(name=name, mean=value, stdev=0.0, repetitions=1, protocol=words) for name, value in others.items()
    ]
    record_speeds(identify(done.file), measured, engine_name("llama.cpp", done.report))


def models_directory() -> Path:
    """Where files that are made lie: in the user's cache, unless PENNYWEIGHT_MODELS says otherwise."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("pennyweight") / "models"


def _kept(chosen: PlanRow, source: Path | None = None) -> Path:
    """Where the file lies that is made of a published model, or of the directory `source`; many have one name."""
    place = f"-{hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:8]}" if source else ""
    return models_directory() / f"{chosen.model.replace('/', '--')}{place}-{chosen.type}.gguf"


def _made(source: Path, kept: Path, chosen: PlanRow, say: Say) -> Path:
    newest = max((file.stat().st_mtime for file in source.glob("*.safetensors")), default=0.0)
    if kept.is_file() and kept.stat().st_mtime > newest:
        say(f"{kept} was made earlier")
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {kept.parent}: {error.strerror}; {VARIABLE} names another directory") from error
    say(f"making {kept} ({show_bytes(chosen.weights_bytes)})")
    quantize(str(source), chosen.type, kept)
    return kept


def _first_clause(error: Exception) -> str:
    return str(error).split(";")[0][:160]
