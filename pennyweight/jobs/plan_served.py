"""plan --runtime vllm: the same question, answered in vLLM's pages."""

from collections.abc import Sequence

from pennyweight.core.errors import BadRequest
from pennyweight.core.units import show_bytes
from pennyweight.jobs.plan_answer import finish
from pennyweight.jobs.plan_choices import situation_of
from pennyweight.jobs.plan_question import Question
from pennyweight.planner.candidate import Candidate
from pennyweight.planner.cards import Capability
from pennyweight.planner.commands import vllm_commands
from pennyweight.planner.decide import Decision
from pennyweight.planner.ladder import Option
from pennyweight.planner.plan import Plan
from pennyweight.planner.served import ServedEstimator
from pennyweight.planner.served_ladder import ServedWish, decide_served, served_choice
from pennyweight.planner.served_types import NAMES, get
from pennyweight.planner.vllm import VllmSettings

DATACENTER_BYTES_PER_SECOND = 800e9
"""From this bandwidth on, and 40 GiB, a card is for serving many: A100, L40S, H100."""


def plan_served(question: Question) -> Plan:
    """Plan for vLLM. Raises: as `jobs.plan.plan`."""
    options = question.options
    quantized = next((a for a in question.anatomies.values() if a.file_type is not None), None)
    if quantized:
        raise BadRequest(
            f"{quantized.name} comes as {quantized.file_type}, of which no vLLM plan is made; name a model that is not "
            "quantized yet, or plan for llama.cpp"
        )
    parallel = options.tensor_parallel or max(len(question.hardware.budget.cards), 1)
    started = VllmSettings(
        max_model_len=question.context,
        utilization=options.utilization,
        tensor_parallel=parallel,
        is_a100=any("A100" in card.name for card in question.hardware.budget.cards),
    )
    estimator = ServedEstimator(situation_of(question, question.anatomies), started)
    models = [
        Option(model=a.name, weights=sum(t.weights for t in a.tensors), types=NAMES)
        for a in question.anatomies.values()
    ]
    wish = _wish(question)
    decision = decide_served(models, wish, estimator)
    rows = _rows(decision, models, wish, estimator)
    orders: tuple[str, ...] = ()
    if decision.chosen:
        anatomy = question.anatomies[decision.chosen.choice.model]
        called = question.called[anatomy.name]
        orders = vllm_commands(decision.chosen, anatomy, called, options.utilization, parallel)
    changes = () if decision.chosen else tuple(_changes(question, rows))
    return finish(question, decision, rows, further=(), commands=orders, changes=changes)


def _wish(question: Question) -> ServedWish:
    options, cards = question.options, question.hardware.budget.cards
    fp8 = bool(cards) and all(card.computes(Capability.FP8) for card in cards)
    types = tuple(get(name).name for name in options.types)
    if "FP8" in types and not fp8:
        raise BadRequest(f"FP8 is not computed by {cards[0].name if cards else 'this machine'}; take AWQ, GPTQ or BF16")
    cache = (options.key_type or options.value_type or "").lower() or None
    return ServedWish(
        context=question.context,
        requests=question.work.slots,
        accurate=question.work.accurate,
        fp8=fp8,
        cache="auto" if cache in ("auto", "f16", "bf16") else cache,
        types=types,
        datacenter=bool(cards)
        and cards[0].memory_bytes >= 40 << 30
        and cards[0].bandwidth >= DATACENTER_BYTES_PER_SECOND,
    )


def _rows(decision: Decision, models: Sequence[Option], wish: ServedWish, evaluate: ServedEstimator) -> list[Candidate]:
    chosen = decision.chosen
    cache = chosen.choice.key_type if chosen and chosen.choice.key_type != "int4" else wish.cache or "auto"
    names = wish.types or tuple(name for name in NAMES if _shown(name, wish))
    ordered = sorted(models, key=lambda option: option.weights, reverse=True)
    return [evaluate(served_choice(option.model, name, cache, wish.context)) for option in ordered for name in names]


def _shown(name: str, wish: ServedWish) -> bool:
    """What the card computes; QServe's checkpoint only where it is an answer."""
    return (wish.fp8 or not get(name).needs_fp8) and (wish.datacenter or name != "W4A8KV4")


def _changes(question: Question, rows: Sequence[Candidate]) -> list[str]:
    """What would make the smallest checkpoint fit."""
    smallest = min(rows, key=lambda row: row.weights_bytes.value)
    lacking = smallest.total_bytes.value - smallest.memory_bytes
    cards = len(question.hardware.budget.cards)
    return [
        f"fewer requests or a shorter `--max-model-len`: {smallest.choice.model} {smallest.choice.type} lacks "
        f"{show_bytes(max(lacking, 0))} on each card",
        f'more cards that share the layers: `--gpu "{2 * cards}x …" -tp {2 * cards}`',
        "a smaller model, or `--runtime llama.cpp`, which can leave layers on the host",
    ]
