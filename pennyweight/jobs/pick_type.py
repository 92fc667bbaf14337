"""Which type to quantize to, from a plan: made here for a card (`quantize --for`), or read as JSON (`--plan`)."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.core.errors import BadRequest, DoesNotFit, FormatError
from pennyweight.jobs.plan import PlanOptions, plan
from pennyweight.planner.quality import is_same_model
from pennyweight.recipes.file_types import get_file_type

MOST_BYTES = 16 << 20
"""A plan as JSON has some tens of kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """The type, and the sentence that says why."""

    type: str
    reason: str


def type_for(model: str, options: PlanOptions) -> Picked:
    """The type that a plan chooses for `model`. Raises: DoesNotFit, with what would change that; else as `plan`."""
    made = plan(model, options)
    if made.chosen is None:
        raise DoesNotFit(f"{model} does not fit {made.card.name} in any type: {'; '.join(made.changes)}")
    return Picked(type=made.chosen.type, reason=made.reasons[0])


def type_from_plan(model: str, path: Path) -> Picked:
    """The type that a plan's JSON chose; `-` reads stdin.

    Raises: FormatError, BadRequest where it is no plan, or one of another model; DoesNotFit where nothing fitted.
    """
    chosen = _chosen(_read(path), path)
    named = [str(chosen.get("model", "")), str(chosen.get("source", ""))]
    if not any(is_same_model(model, name) for name in named if name):
        raise BadRequest(f"the plan chose {named[0]}, and MODEL is {model}; quantize the one that was chosen")
    if chosen.get("runtime") != "llama.cpp":
        raise BadRequest(f"the plan is for {chosen.get('runtime')}, whose checkpoints are no file types of GGUF")
    reasons = chosen.get("reasons")
    return Picked(type=get_file_type(str(chosen.get("type"))).name, reason=reasons or f"as {path} says")


def _read(path: Path) -> str:
    try:
        text = sys.stdin.read(MOST_BYTES + 1) if str(path) == "-" else _file(path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"the plan {path} cannot be read: {error}") from error
    if len(text) > MOST_BYTES:
        raise FormatError(f"the plan {path} is longer than {MOST_BYTES} bytes, which no plan is")
    return text


def _file(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MOST_BYTES + 1)


def _chosen(text: str, path: Path) -> dict[str, Any]:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON ({error}); write it with `pennyweight plan … --json`") from error
    if not isinstance(made, dict) or "chosen" not in made:
        raise FormatError(f"{path} has no `chosen`; write it with `pennyweight plan … --json`")
    chosen = made["chosen"]
    if chosen is None:
        changes = made.get("changes")
        raise DoesNotFit(f"the plan {path} found nothing that fits: {'; '.join(map(str, changes or ['no changes']))}")
    if not isinstance(chosen, dict):
        raise FormatError(f"{path}: `chosen` is {type(chosen).__name__}, an object was wanted")
    first = made.get("reasons")
    return chosen | {"reasons": str(first[0]) if isinstance(first, list) and first else ""}
