"""What was asked of `plan`, looked up: models, hardware, work, and what a person should know before any answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pennyweight.core.errors import BadRequest, FormatError, OutputError
from pennyweight.jobs.plan_machine import Hardware, MachineOptions, hardware_for
from pennyweight.jobs.plan_notes import Notes, warn
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.embedded import EMBEDDED
from pennyweight.planner.request import Runtime
from pennyweight.planner.resolve import resolve
from pennyweight.planner.workloads import Workload, WorkloadOptions, context_for, workload
from pennyweight.store.measurement import Measurement
from pennyweight.store.place import default_path

EMBEDDED_NAME = "embedded"
LONGEST_CONTEXT = 1 << 27
"""Tokens; no model is asked for more."""

THIS_MACHINE, CHAT = MachineOptions(), WorkloadOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What was asked for, beyond the models.

    Attributes:
        machine: the hardware. work: what for.
        context: tokens per slot; None for what the work needs, 0 for all that the model was trained on.
        types: file types to choose from (vLLM: checkpoints); empty for the planner's own ladder.
        key_type, value_type: of the cache; None for F16, and smaller where the context is what does not fit.
        gpu_layers, cpu_moe_layers, micro_batch, flash_attention: as llama.cpp has them.
        runtime: whose memory and speed.
        utilization, tensor_parallel: vLLM's.
        offline: ask nobody.
    """

    machine: MachineOptions = THIS_MACHINE
    work: WorkloadOptions = CHAT
    context: int | None = None
    types: tuple[str, ...] = ()
    key_type: str | None = None
    value_type: str | None = None
    gpu_layers: int | None = None
    cpu_moe_layers: int = 0
    micro_batch: int = 512
    flash_attention: bool = True
    runtime: Runtime = Runtime.LLAMA_CPP
    utilization: float = 0.9
    tensor_parallel: int | None = None
    offline: bool = False


USUAL = PlanOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked for, looked up: models by name with what they were called, hardware, work, warnings."""

    options: PlanOptions
    anatomies: dict[str, Anatomy]
    called: dict[str, str]
    hardware: Hardware
    work: Workload
    context: int
    measured: tuple[Measurement, ...]
    notes: tuple[str, ...]


def ask(models: Sequence[str], options: PlanOptions) -> Question:
    """Look everything up. Raises as `plan`."""
    if not models:
        raise BadRequest("no model; name one or more, such as Qwen3-8B")
    notes = Notes()
    anatomies, called = {}, {}
    for model in dict.fromkeys(models):
        anatomy = _anatomy(model, options.offline)
        if anatomy.name in anatomies:
            anatomy = replace(anatomy, name=model)  # two files of one model: what they were called tells them apart
        anatomies[anatomy.name], called[anatomy.name] = anatomy, model
        for note in anatomy.notes:
            notes.add(f"{anatomy.name}: {note}")
        if not anatomy.known and not anatomy.least:
            notes.add(f"{anatomy.name}: its architecture is not modelled exactly; every number of it is a bound")
    work = workload(options.work)
    context = _context(options, work, list(anatomies.values()), notes)
    warn(work, context, list(anatomies.values()), notes)
    hardware, measured = _known_here(options.machine, notes)
    return Question(
        options=options,
        anatomies=anatomies,
        called=called,
        hardware=hardware,
        work=work,
        context=context,
        measured=measured,
        notes=tuple(notes.said),
    )


def _anatomy(model: str, offline: bool) -> Anatomy:
    if model == EMBEDDED_NAME:
        return replace(resolve(str(EMBEDDED)), name=EMBEDDED_NAME)
    return resolve(model, offline=offline)


def _context(options: PlanOptions, work: Workload, anatomies: Sequence[Anatomy], notes: Notes) -> int:
    """Tokens per slot."""
    trained = min((a.shape.context_length for a in anatomies if a.shape.context_length), default=0)
    if options.context is None:
        return context_for(work, trained)
    if options.context == 0:
        if not trained:
            raise BadRequest("-c 0 means the model's own context, and this one does not say it; give -c TOKENS")
        notes.add(f"-c 0 is the model's own context, {trained:,} tokens, as llama.cpp has it")
        return trained
    if not 0 < options.context <= LONGEST_CONTEXT:
        raise BadRequest(f"-c is {options.context:,} tokens; 1 to {LONGEST_CONTEXT:,} are wanted (0: the model's own)")
    return options.context


def _known_here(machine: MachineOptions, notes: Notes) -> tuple[Hardware, tuple[Measurement, ...]]:
    """The hardware, and what was measured of quality on this machine; a store that is not there yet is not made."""
    measured: tuple[Measurement, ...] = ()
    hardware: Hardware | None = None
    if default_path().exists():
        from pennyweight.store.database import open_store  # here: most machines have measured nothing yet

        try:
            with open_store() as store:
                hardware = hardware_for(machine, store)
                measured = tuple(row for metric in ("kld_mean", "delta_ln_ppl") for row in store.query(metric=metric))
        except (FormatError, OutputError) as error:
            notes.add(f"what was measured and calibrated here is left out: {error}")
    hardware = hardware or hardware_for(machine, None)
    for note in hardware.notes:
        notes.add(note)
    return hardware, measured
