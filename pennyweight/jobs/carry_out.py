"""A plan carried out: its file found or made, run, and what was predicted held against what was measured."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.checkpoints.open import local_path
from pennyweight.core.errors import BadRequest, DoesNotFit, OutputError
from pennyweight.core.units import show_bytes
from pennyweight.evaluation.throughput import model_speed
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.jobs.quantize import quantize
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.models.embedded import EMBEDDED
from pennyweight.planner.plan import Plan, PlanRow
from pennyweight.planner.workloads import WorkloadOptions
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.placement import gpus, placement
from pennyweight.runtimes.speed import SpeedSettings

Say = Callable[[str], None]

VARIABLE = "PENNYWEIGHT_MODELS"
"""Environment variable that names another directory for files that are made."""

SHORT = SpeedSettings(prompt_tokens=128, generated_tokens=32, repetitions=2)
"""Enough to hold a plan's speeds against; a benchmark is `bench`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedOut:
    """A plan's file, and its speeds: predicted, measured. `placement` says where every layer lived."""

    file: str
    placement: str
    predicted_prompt_tok_s: float
    predicted_decode_tok_s: float
    prompt_tok_s: float
    decode_tok_s: float


def summary_plan(model: str, pages: int, ctx: int | None) -> Plan:
    """The plan of summarizing `pages` pages with MODEL on what this llama.cpp can use here. Raises: as `plan`."""
    return plan(model, here(PlanOptions(work=WorkloadOptions(name="summarize", pages=max(1, pages)), context=ctx)))


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
        return _made(EMBEDDED if model == "embedded" else path, chosen, say)
    repository = chosen.source or model
    if (kept := _kept(chosen)).is_file():
        say(f"{kept} was made earlier")
        return kept
    try:
        say(f"looking for {chosen.type} in hf.co/{repository}-GGUF")
        return local_path(f"hf.co/{repository}-GGUF:{chosen.type}")
    except BadRequest as error:
        if "no GGUF" not in str(error) and type(error.__cause__).__name__ != "RepositoryNotFoundError":
            raise  # the hub cannot be reached, or another fault that a second try would meet again
        say(f"none there ({_first_clause(error)}); fetching hf.co/{repository} to quantize it")
    return _made(local_path(repository), chosen, say)


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
    """Find or make the plan's file, load it as planned, measure its speeds. Raises: as `file_of`, `Model.load`."""
    chosen = chosen_of(made)
    path = file_of(model, chosen, say)
    settings = replace(
        SHORT,
        gpu_layers=chosen.layers_on_gpu,
        type_k=chosen.key_type.lower(),
        type_v=chosen.value_type.lower(),
    )
    with Model.load(path, n_gpu_layers=chosen.layers_on_gpu) as loaded:
        say(f"{path}: {placement(loaded)}")
        report = model_speed(loaded, settings)
        where = placement(loaded)
    prompt, decode = report.speeds
    return CarriedOut(
        file=str(path),
        placement=where,
        predicted_prompt_tok_s=chosen.prompt_tok_s,
        predicted_decode_tok_s=chosen.decode_tok_s,
        prompt_tok_s=prompt.mean,
        decode_tok_s=decode.mean,
    )


def models_directory() -> Path:
    """Where files that are made lie: in the user's cache, unless PENNYWEIGHT_MODELS says otherwise."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("pennyweight") / "models"


def _kept(chosen: PlanRow) -> Path:
    return models_directory() / f"{chosen.model.replace('/', '--')}-{chosen.type}.gguf"


def _made(source: Path, chosen: PlanRow, say: Say) -> Path:
    kept = _kept(chosen)
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
