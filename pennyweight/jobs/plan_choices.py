"""What a plan chooses among: models, their types, formats of their caches; and the situation they are planned in."""

from dataclasses import replace

from pennyweight.core.errors import BadRequest, ShapeError, UnknownName
from pennyweight.jobs.plan_question import PlanOptions, Question
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.catalogue import PublishedModel
from pennyweight.models.describe import weights_and_type
from pennyweight.planner.estimate import Estimator, Situation
from pennyweight.planner.kv import CACHE_TYPES, kv_bytes
from pennyweight.planner.ladder import TYPES, Option, Wish, best_first
from pennyweight.planner.request import Settings
from pennyweight.planner.resolve import from_catalogue
from pennyweight.recipes.file_types import get_file_type


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


def _caches(question: Question) -> tuple[tuple[str, str], ...]:
    """Formats of the cache to try: the ones named, else those that every model's heads are whole blocks of."""
    options = question.options
    if options.key_type or options.value_type:
        named = ((options.key_type or "F16").upper(), (options.value_type or "F16").upper())
        for name in named:
            if name not in CACHE_TYPES:
                raise UnknownName.among("cache type", name, CACHE_TYPES)
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


class _Known(dict[str, Anatomy]):
    """The models that were asked for, and any published one when it is looked at."""

    def __missing__(self, name: str) -> Anatomy:
        return self.setdefault(name, from_catalogue(name))


def with_published(question: Question) -> tuple[Estimator, list[Option], list[Option]]:
    """An estimator that knows every published model too; the models asked for, and the others."""
    known = _Known(question.anatomies)
    others = [_published(model) for model in catalogue.ALL if model.name not in known]
    asked = [option_of(anatomy, question.options) for anatomy in question.anatomies.values()]
    return Estimator(situation_of(question, known)), asked, others


def _published(model: PublishedModel) -> Option:
    weights, file_type = weights_and_type(model.fields)
    return Option(model=model.name, weights=weights, types=(file_type,) if file_type else best_first(TYPES))
