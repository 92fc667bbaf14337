"""plan: which quantization, of which model, on which card, for which work, and why; only headers are downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pennyweight.core.errors import BadRequest, FormatError, OutputError, ShapeError
from pennyweight.core.units import show_rate
from pennyweight.jobs.plan_machine import Hardware, MachineOptions, hardware_for
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.embedded import EMBEDDED
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.changes import better_than_few_bits, changes
from pennyweight.planner.commands import llama_cpp_commands
from pennyweight.planner.decide import Decision, decide, takes
from pennyweight.planner.estimate import Estimator, Situation
from pennyweight.planner.further import further
from pennyweight.planner.kv import kv_bytes
from pennyweight.planner.ladder import SPARE_BYTES, TYPES, Option, Rule, Wish, best_first
from pennyweight.planner.plan import Plan, PlanWork, plan_card, plan_row, sources_of
from pennyweight.planner.request import Runtime, Settings
from pennyweight.planner.resolve import from_catalogue, resolve
from pennyweight.planner.workloads import Workload, WorkloadOptions, context_for, workload
from pennyweight.recipes.file_types import get_file_type
from pennyweight.store.machine import processor
from pennyweight.store.measurement import Measurement

EMBEDDED_NAME = "embedded"
LONGEST_CONTEXT = 1 << 27
"""Tokens; no model is asked for more."""

SHOWN_OF_ONE = TYPES
SHOWN_OF_MANY = ("Q6_K", "Q4_K_M", "IQ4_XS")
"""Rows of the table: of a family only what the decision turns on."""


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


def plan(models: str | Sequence[str], options: PlanOptions = PlanOptions()) -> Plan:
    """Plan one model or choose among several.

    Args:
        models: what `resolve` takes: a catalogue name, a file, a directory, `user/repo`, `hf.co/user/repo:Q4_K_M`.

    Returns:
        The plan; its `chosen` is None where nothing fits, and `changes` then say what would.

    Raises:
        UnknownName: no such model, card, type or workload; the nearest are named.
        BadRequest, FormatError, UnsupportedModel: what was asked for, or a file, cannot be.
    """
    question = ask([models] if isinstance(models, str) else list(models), options)
    if options.runtime == Runtime.VLLM:
        from pennyweight.jobs.plan_served import plan_served

        return plan_served(question)
    return _plan_llama_cpp(question)


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


@dataclass(slots=True)
class _Notes:
    """Warnings, collected on the way, each once."""

    said: list[str] = field(default_factory=list)

    def add(self, words: str) -> None:
        if words not in self.said:
            self.said.append(words)


def ask(models: Sequence[str], options: PlanOptions) -> Question:
    """Look everything up. Raises as `plan`."""
    if not models:
        raise BadRequest("no model; name one or more, such as Qwen3-8B")
    notes = _Notes()
    anatomies, called = {}, {}
    for model in dict.fromkeys(models):
        anatomy = _anatomy(model, options.offline)
        if anatomy.name in anatomies:
            anatomy = replace(anatomy, name=model)  # two files of one model: what they were called tells them apart
        anatomies[anatomy.name], called[anatomy.name] = anatomy, model
        for note in anatomy.notes:
            notes.add(f"{anatomy.name}: {note}")
        if not anatomy.known:
            notes.add(f"{anatomy.name}: its architecture is not modelled exactly; every number of it is a bound")
    work = workload(options.work)
    context = _context(options, work, list(anatomies.values()), notes)
    _warn(work, context, list(anatomies.values()), notes)
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


def _context(options: PlanOptions, work: Workload, anatomies: Sequence[Anatomy], notes: _Notes) -> int:
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


def _warn(work: Workload, context: int, anatomies: Sequence[Anatomy], notes: _Notes) -> None:
    for anatomy in anatomies:
        trained = anatomy.shape.context_length
        if trained and context > trained:
            stretched = (
                f"already stretched by {anatomy.rope_scaling}" if anatomy.rope_scaling else "without rope scaling"
            )
            notes.add(
                f"{anatomy.name} was trained on {trained:,} tokens, {stretched}; {context:,} need YaRN rope scaling "
                f"×{context / trained:.3g}, which costs quality that no number here shows"
            )
    if work.tokens > context:
        notes.add(
            f"the work takes {work.tokens:,} tokens and the context has {context:,}: it must be split, or cut; "
            f"-c {-(-work.tokens // 1024)}k holds it"
        )
    elif work.dense_prompt_tokens and work.dense_prompt_tokens + work.output_tokens > context:
        notes.add(
            f"pages in two columns of small print would be {work.dense_prompt_tokens:,} tokens, more than the context: "
            "`summarize` counts them and splits"
        )


def _known_here(machine: MachineOptions, notes: _Notes) -> tuple[Hardware, tuple[Measurement, ...]]:
    """The hardware, and what was measured of quality on this machine; a store that is not there yet is not made."""
    from pennyweight.store.database import default_path, open_store

    measured: tuple[Measurement, ...] = ()
    hardware: Hardware | None = None
    if default_path().exists():
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


def _plan_llama_cpp(question: Question) -> Plan:
    estimator = Estimator(situation_of(question, question.anatomies))
    options, wish = asked_for(question)
    decision = decide(options, wish, estimator)
    rows = _rows(decision, options, wish, estimator)
    chosen = decision.chosen
    beyond: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    if chosen:
        anatomy = question.anatomies[chosen.choice.model]
        beyond = further(chosen, estimator, _makeable(anatomy), anatomy.shape.context_length)
        more = (*_few_bits(question, decision, wish), *_room(question, decision, wish, estimator))
        decision = replace(decision, reasons=(*decision.reasons, *more))
        orders = llama_cpp_commands(chosen, anatomy, question.called[anatomy.name])
    return finish(question, decision, rows, further=beyond, commands=orders, changes=_changes(question, wish, decision))


def asked_for(question: Question) -> tuple[list[Option], Wish]:
    """What `decide` chooses among. Raises: as `plan`."""
    options = [_option(anatomy, question) for anatomy in question.anatomies.values()]
    wish = Wish(
        context=question.context,
        accurate=question.work.accurate,
        caches=_caches(question),
        types_given=bool(question.options.types),
    )
    return options, wish


def _room(question: Question, decision: Decision, wish: Wish, evaluate: Estimator) -> tuple[str, ...]:
    """Where the work is not accuracy-sensitive and there is room for more bits: what they would take and give."""
    chosen = decision.chosen
    if chosen is None or wish.accurate or wish.types_given or question.anatomies[chosen.choice.model].file_type:
        return ()
    better = evaluate(replace(chosen.choice, type="Q6_K"))
    if chosen.choice.type != "Q4_K_M" or not takes(better, SPARE_BYTES):
        return ()
    speeds = f"{show_rate(better.decode_tok_s.value)} tokens/s instead of {show_rate(chosen.decode_tok_s.value)}"
    labels = f"{better.quality.label} instead of {chosen.quality.label}"
    return (f"There is room for Q6_K ({labels}) at {speeds}: `--accuracy high` takes it.",)


def finish(
    question: Question,
    decision: Decision,
    rows: Sequence[Candidate],
    *,
    further: tuple[str, ...],
    commands: tuple[str, ...],
    changes: tuple[str, ...],
) -> Plan:
    """A decision and its table as the answer."""
    work, runtime, chosen = question.work, question.options.runtime, decision.chosen
    return Plan(
        runtime=runtime.value,
        card=plan_card(question.hardware.budget, "" if question.hardware.budget.cards else processor()),
        workload=PlanWork(
            name=work.name,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
            slots=work.slots,
            accurate=work.accurate,
            reasons=work.reasons,
        ),
        context=question.context,
        chosen=plan_row(chosen, question.anatomies[chosen.choice.model], runtime) if chosen else None,
        candidates=tuple(plan_row(row, question.anatomies[row.choice.model], runtime) for row in rows),
        reasons=decision.reasons,
        further=further,
        changes=changes,
        commands=commands,
        notes=question.notes,
        sources=sources_of([chosen] if chosen else rows[:1]),
    )


def situation_of(question: Question, anatomies: dict[str, Anatomy]) -> Situation:
    """The question as the estimators take it, of these models."""
    options = question.options
    return Situation(
        anatomies=anatomies,
        budget=question.hardware.budget,
        machine=question.hardware.machine,
        work=question.work,
        settings=Settings(
            context=question.context,
            slots=question.work.slots,
            flash_attention=options.flash_attention,
            micro_batch=options.micro_batch,
            gpu_layers=options.gpu_layers,
            cpu_moe_layers=options.cpu_moe_layers,
        ),
        measured=question.measured,
    )


def option_of(anatomy: Anatomy, options: PlanOptions) -> Option:
    """A model and what it can be had in. Raises: UnknownName; BadRequest where a file is of none of the types asked."""
    asked = tuple(dict.fromkeys(get_file_type(name).name for name in options.types))
    types = asked or TYPES
    if anatomy.file_type is not None:
        if asked and anatomy.file_type not in asked:
            raise BadRequest(
                f"{anatomy.name} is a file of type {anatomy.file_type}; --type {', '.join(asked)} needs the model that "
                "it was made from"
            )
        types = (anatomy.file_type,)
    return Option(model=anatomy.name, weights=sum(t.weights for t in anatomy.tensors), types=best_first(types))


def _option(anatomy: Anatomy, question: Question) -> Option:
    """The same, on this hardware: experts can be left to a host that is not the card's own memory."""
    budget, options = question.hardware.budget, question.options
    free = options.gpu_layers is None and not options.cpu_moe_layers and bool(budget.cards) and not budget.unified
    return replace(option_of(anatomy, options), experts=free and anatomy.shape.expert_count > 0)


def _makeable(anatomy: Anatomy) -> tuple[str, ...]:
    return (anatomy.file_type,) if anatomy.file_type else TYPES


def _caches(question: Question) -> tuple[tuple[str, str], ...]:
    """Formats of the cache to try: the ones named, else those that every model's heads are whole blocks of."""
    options = question.options
    if options.key_type or options.value_type:
        named = ((options.key_type or "F16").upper(), (options.value_type or "F16").upper())
        if named[1] != "F16" and not options.flash_attention:
            raise BadRequest(f"-ctv {named[1].lower()} needs flash attention; leave out -fa off, or the cache's type")
        return (named,)
    if not options.flash_attention:
        return (("F16", "F16"),)
    return (
        ("F16", "F16"),
        *((n, n) for n in ("Q8_0", "Q4_0") if all(_takes(a, n) for a in question.anatomies.values())),
    )


def _takes(anatomy: Anatomy, name: str) -> bool:
    try:
        kv_bytes(anatomy, Settings(context=256, key_type=name, value_type=name))
    except ShapeError:
        return False
    return True


def _rows(decision: Decision, options: Sequence[Option], wish: Wish, evaluate: Estimator) -> list[Candidate]:
    """The table: each model's types at the cache that was chosen; and the choice as it is with the first cache."""
    chosen = decision.chosen
    cache = (chosen.choice.key_type, chosen.choice.value_type) if chosen else wish.caches[0]
    shown = SHOWN_OF_ONE if len(options) == 1 else SHOWN_OF_MANY
    rows: dict[Choice, Candidate] = {}
    for option in sorted(options, key=lambda o: o.weights, reverse=True):
        own = chosen.choice.type if chosen and chosen.choice.model == option.model else None
        given = wish.types_given or len(option.types) == 1
        for name in (n for n in option.types if given or n in shown or n == own):
            choice = Choice(model=option.model, type=name, key_type=cache[0], value_type=cache[1], context=wish.context)
            if name == own and cache != wish.caches[0]:
                first = replace(choice, key_type=wish.caches[0][0], value_type=wish.caches[0][1])
                rows[first] = evaluate(first)
            if chosen and chosen.choice.experts_on_host and option.experts and not evaluate(choice).fits:
                choice = replace(choice, experts_on_host=True)
            rows[choice] = evaluate(choice)
    return list(rows.values())


def _changes(question: Question, wish: Wish, decision: Decision) -> tuple[str, ...]:
    """Where nothing fits: what would have to change; published models are looked at for a smaller one."""
    if decision.chosen:
        return ()
    evaluate, asked, others = _with_published(question)
    return tuple(change.sentence for change in changes(asked, wish, evaluate, others))


def _few_bits(question: Question, decision: Decision, wish: Wish) -> tuple[str, ...]:
    """Where the planner itself came down to 3 bits and fewer: what keeps 4."""
    if decision.rule is not Rule.EMERGENCY or wish.types_given or any(a.file_type for a in question.anatomies.values()):
        return ()
    evaluate, asked, others = _with_published(question)
    return better_than_few_bits(asked, wish, evaluate, others)


def _with_published(question: Question) -> tuple[Estimator, list[Option], list[Option]]:
    """An estimator that knows every published model too; the models asked for, and the others."""
    known = dict(question.anatomies)
    others: list[Option] = []
    for published in catalogue.ALL:
        if published.name not in known:
            known[published.name] = from_catalogue(published.name)
            others.append(option_of(known[published.name], PlanOptions()))
    asked = [option_of(anatomy, question.options) for anatomy in question.anatomies.values()]
    return Estimator(situation_of(question, known)), asked, others
