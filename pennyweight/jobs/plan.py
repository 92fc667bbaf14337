"""plan: which quantization, of which model, on which card, for which work, and why; only headers are downloaded."""

from collections.abc import Sequence
from dataclasses import replace

from pennyweight.core.units import show_rate
from pennyweight.jobs.plan_answer import finish
from pennyweight.jobs.plan_choices import asked_for, situation_of, with_published
from pennyweight.jobs.plan_question import USUAL, PlanOptions, Question, ask
from pennyweight.models.anatomy import Anatomy
from pennyweight.planner.candidate import Candidate, Choice
from pennyweight.planner.commands import llama_cpp_commands
from pennyweight.planner.decide import Decision, decide, takes
from pennyweight.planner.estimate import Estimator
from pennyweight.planner.further import further
from pennyweight.planner.ladder import SPARE_BYTES, TYPES, Option, Rule, Wish
from pennyweight.planner.plan import Plan
from pennyweight.planner.request import Runtime

SHOWN_OF_ONE = TYPES
SHOWN_OF_MANY = ("Q6_K", "Q4_K_M", "IQ4_XS")
"""Rows of the table: of a family only what the decision turns on."""


def plan(models: str | Sequence[str], options: PlanOptions = USUAL) -> Plan:
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


def _makeable(anatomy: Anatomy) -> tuple[str, ...]:
    return (anatomy.file_type,) if anatomy.file_type else TYPES


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
    from pennyweight.planner.changes import changes

    evaluate, asked, others = with_published(question)
    return tuple(change.sentence for change in changes(asked, wish, evaluate, others))


def _few_bits(question: Question, decision: Decision, wish: Wish) -> tuple[str, ...]:
    """Where the planner itself came down to 3 bits and fewer: what keeps 4."""
    if decision.rule is not Rule.EMERGENCY or wish.types_given or any(a.file_type for a in question.anatomies.values()):
        return ()
    from pennyweight.planner.changes import better_than_few_bits

    evaluate, asked, others = with_published(question)
    return better_than_few_bits(asked, wish, evaluate, others)
