"""A plan on one screen: for what, the table, the verdict, why, one step further, how it is known, what to run."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from pennyweight.core.units import show_rate
from pennyweight.planner.plan import Plan, PlanRow
from pennyweight.planner.request import Runtime
from pennyweight.report.plan_table import BOLD, PLAIN, gib, seconds, table

LEAST_WIDTH = 48


def screen(plan: Plan, width: int, *, colour: bool = False) -> list[str]:
    """The lines, none wider than `width` (of at least 48 columns)."""
    width = max(width, LEAST_WIDTH)

    def head(text: str) -> str:
        return f"{BOLD}{text}{PLAIN}" if colour else text

    parts: list[list[str]] = [
        [*_labelled("Plan", _work(plan), width), *_labelled("Card", _card(plan), width)],
        [*wrap(_units(plan), width), *table(plan, width, colour=colour)],
        _wrapped(_verdict(plan), width),
        _section(head("Why"), plan.reasons, width),
        _section(head("One step further"), plan.further, width),
        _section(head("What would have to change"), plan.changes, width),
        _section(head("Note"), (*plan.card.notes, *plan.notes), width),
        _section(head("How it is known"), _sources(plan), width),
        [head("Run next"), *(line for command in plan.commands for line in _command(command, width))]
        if plan.commands
        else [],
    ]
    lines: list[str] = []
    for part in (part for part in parts if part):
        lines += [*([""] if lines else []), *part]
    return lines


def _work(plan: Plan) -> str:
    work = plan.workload
    slots = f", {work.slots} at once" if work.slots > 1 else ""
    counts = f"{work.prompt_tokens:,} tokens in, {work.output_tokens:,} out{slots}"
    return f"{work.name}: {counts} · context {plan.context:,} · {plan.runtime}"


def _card(plan: Plan) -> str:
    card = plan.card
    if card.count == 0:
        memory = f"{gib(card.usable_bytes)} GiB at {card.bandwidth / 1e9:.0f} GB/s ({card.host_source})"
        return f"none: the processor, {card.name}, {memory}"
    shared = " that it may use" if card.unified else ""
    memory = f"{gib(card.usable_bytes)} GiB{shared}, {card.bandwidth / 1e9:.0f} GB/s ({card.bandwidth_source})"
    if card.unified:
        return f"{card.name}: {memory} of {gib(card.memory_bytes)} GiB"
    host = f"{gib(card.host_memory_bytes)} GiB" if card.host_memory_bytes else "memory unknown"
    return f"{card.name}: {memory} · host: {host}, {card.host_bandwidth / 1e9:.0f} GB/s ({card.host_source})"


def _units(plan: Plan) -> str:
    where = "in memory" if plan.card.count == 0 else "on the card"
    room = plan.candidates[0].memory_bytes if plan.candidates else plan.card.usable_bytes
    lent = any(row.cpu_moe_layers for row in plan.candidates)
    experts = "; − experts: of so many blocks on the host" if lent else ""
    return f"GiB {where}, of {gib(room)}; tokens per second{experts}"


def _verdict(plan: Plan) -> str:
    row = plan.chosen
    if row is None:
        may = any(one.may_fit for one in plan.candidates)
        return "Nothing fits for certain: only bounds are known, and some may." if may else "Nothing fits."
    cache = (
        ""
        if row.key_type.upper() in ("F16", "AUTO")
        else f" with {'an' if row.key_type[0] in 'Ii' else 'a'} {row.key_type} cache"
    )
    range = f" ({_between(row.decode_range)})" if row.decode_range else ""
    took = f" ({seconds(row.seconds_range[0])} to {seconds(row.seconds_range[1])})" if row.seconds_range else ""
    many = f", {row.requests} requests at once" if plan.runtime == Runtime.VLLM.value else ""
    most = "at most " if row.bounds else ""
    size = f"{most}{gib(row.total_bytes)} of {gib(row.memory_bytes)} GiB{many}"
    speed = f"reads about {show_rate(row.prompt_tok_s)} and writes {show_rate(row.decode_tok_s)}{range} tokens/s"
    times = f"first word after {seconds(row.first_token_seconds)}, done after {seconds(row.seconds)}{took}"
    return f"Run {row.model} {row.type}{cache}: {size}; {speed}; {times}."


def _between(ends: tuple[float, float]) -> str:
    return f"{show_rate(ends[0])} to {show_rate(ends[1])}"


def _sources(plan: Plan) -> Iterator[str]:
    """Footnotes, and the quality of the rows that are marked."""
    said: dict[tuple[str, str], list[str]] = {}
    for source in plan.sources:
        said.setdefault((source.basis, source.words), []).append(source.column)
    for (basis, words), columns in said.items():
        yield f"{', '.join(columns)}: {basis}, {words}."
    shown: PlanRow | None = plan.chosen or min(plan.candidates, key=lambda row: row.total_bytes, default=None)
    if shown:
        star = "* " if shown.basis.quality == "published" and not shown.quality.same_model else ""
        yield f"{star}quality: {shown.basis.quality}, {shown.quality.sentence}."
        if star:
            yield "Measured on another model: the order of types holds, the figures move; `compare` measures yours."


def _section(title: str, sentences: Iterable[str], width: int) -> list[str]:
    lines = [
        line for sentence in sentences for line in wrap(sentence, width, initial_indent="  ", subsequent_indent="    ")
    ]
    return [title, *lines] if lines else []


def _labelled(label: str, text: str, width: int) -> list[str]:
    return wrap(f"{label}  {text}", width, subsequent_indent="      ")


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width)


def _command(command: str, width: int) -> list[str]:
    """A command, broken between its words by backslashes where it is too wide; it can be pasted as it stands."""
    lines, line = [], "  "
    for word in command.split(" "):
        joined = line + ("" if not line.strip() else " ") + word
        if len(joined) > width - 2 and line.strip():
            lines.append(line + " \\")
            joined = "    " + word
        line = joined
    return [*lines, line]
