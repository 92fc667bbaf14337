"""A decision and its table → the plan that is returned, printed and kept."""

from collections.abc import Sequence

from pennyweight.jobs.plan_question import Question
from pennyweight.planner.candidate import Candidate
from pennyweight.planner.decide import Decision
from pennyweight.planner.plan import Plan, PlanWork, plan_card, plan_row, sources_of
from pennyweight.store.machine import processor


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
