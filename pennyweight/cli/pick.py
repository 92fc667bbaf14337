"""TYPE chosen instead of named: `quantize MODEL --for "RTX 3060 12GB" -c 32k`, or `quantize MODEL --plan -`."""

import sys
from pathlib import Path

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import parse_tokens


def picked_type(model: str, named: str | None, card: str | None, ctx: str | None, plan: Path | None) -> str | None:
    """The type: the one named, or the one that fits the card, or the plan's; None where none of them is given.

    Says on stderr what was chosen and why. Raises: BadRequest where two of them are given; else as the jobs.
    """
    given = [name for name, value in (("TYPE", named), ("--for", card), ("--plan", plan)) if value is not None]
    if len(given) > 1:
        raise BadRequest(f"{given[0]} and {given[1]} both say the type; leave one of them out")
    if ctx is not None and card is None:
        raise BadRequest("-c is the context that --for leaves room for; name the card with --for")
    if card is None and plan is None:
        return named
    from pennyweight.jobs.pick_type import type_for, type_from_plan
    from pennyweight.jobs.plan import PlanOptions
    from pennyweight.jobs.plan_machine import MachineOptions

    if plan is not None:
        picked = type_from_plan(model, plan)
    else:
        machine = MachineOptions(gpu=card)
        picked = type_for(model, PlanOptions(machine=machine, context=None if ctx is None else parse_tokens(ctx)))
    print(f"{picked.type}: {picked.reason}", file=sys.stderr)
    return picked.type
