"""A sweep as a table: which columns, how each number is written, and the table as Markdown and CSV.

A perplexity's own error bar says how much texts differ; it is left out where the paired Δ stands beside it, with the
error that decides whether two levels differ at all.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from pennyweight.core.units import show_bytes, show_rate, show_seconds
from pennyweight.evaluation.sweep import SweepResult, SweepRow

NARROW, MIDDLE, WIDE, WHOLE = 80, 100, 120, 150
"""Columns of a terminal: from each on, a table has the columns that need so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        head: its name; `title`: what it means, in a sentence, for the page and the note below a table.
        cell: a row → what stands there; empty where it was not measured.
        width: characters of the terminal from which on it is shown.
        left: words, not a number.
    """

    head: str
    title: str
    cell: Callable[[SweepRow], str]
    width: int = NARROW
    left: bool = False


ALL = (
    Column(head="type", title="file type", cell=lambda row: row.type, left=True),
    Column(head="size", title="size of the file", cell=lambda row: show_bytes(row.bytes)),
    Column(head="bits", title="stored bits per weight", cell=lambda row: f"{row.bits_per_weight:.2f}"),
    Column(
        head="Δ ln ppl",
        title="change of ln perplexity against the base, paired token by token, ± its standard error",
        cell=lambda row: paired(row),
    ),
    Column(
        head="KLD", title="mean KL divergence from the base, nats per token", cell=lambda row: f"{row.kld_mean:.6f}"
    ),
    Column(
        head="± KLD",
        title="standard error of the mean KL divergence",
        cell=lambda row: f"± {row.kld_stderr:.6f}",
        width=WHOLE,
    ),
    Column(
        head="same top",
        title="share of tokens where both find the same token likeliest",
        cell=lambda row: f"{100 * row.same_top:.1f} %",
        width=MIDDLE,
    ),
    Column(head="prompt", title="prompt tokens read per second", cell=lambda row: _speed(row.prompt_tok_s)),
    Column(head="decode", title="tokens written per second", cell=lambda row: _speed(row.decode_tok_s)),
    Column(head="perplexity", title="exp of the mean loss", cell=lambda row: f"{row.perplexity:.3f}", width=WIDE),
    Column(
        head="± texts",
        title="standard error of the perplexity: how much texts differ, not how much levels do",
        cell=lambda row: f"± {row.stderr:.3f}",
        width=WHOLE,
    ),
    Column(
        head="KLD 99 %",
        title="KL divergence of the worst token in a hundred",
        cell=lambda row: f"{row.kld_p99:.3f}",
        width=WHOLE,
    ),
    Column(
        head="encode",
        title="weights quantized per second, reading and writing included",
        cell=lambda row: encode_speed(row),
        width=WIDE,
    ),
    Column(
        head="made in",
        title="wall time of making the file, calibration included",
        cell=lambda row: "" if row.make_seconds is None else show_seconds(row.make_seconds),
        width=WHOLE,
    ),
    Column(
        head="memory",
        title="the most memory the process held while it made the file, what it held before included",
        cell=lambda row: "" if row.peak_memory_bytes is None else show_bytes(row.peak_memory_bytes),
        width=WHOLE,
    ),
)


SPEEDS = ("prompt", "decode")
"""Heads that get a star where the speeds are a synthetic model's."""


def columns_for(rows: Sequence[SweepRow], width: int = 10**6) -> list[Column]:
    """The columns that have anything to show for these rows and fit a terminal of `width` characters."""
    shown = [column for column in ALL if column.width <= width and any(column.cell(row) for row in rows)]
    if not any(row.synthetic for row in rows):
        return shown
    return [replace(column, head=f"{column.head}*") if column.head in SPEEDS else column for column in shown]


def paired(row: SweepRow) -> str:
    """`+0.0123 ± 0.0008`; `≈` before what is within two errors of 0."""
    mark = "" if row.is_distinguishable else "≈ "
    change = round(row.delta_ln_ppl, 4) + 0.0  # no −0.0000
    return f"{mark}{change:+.4f} ± {row.delta_ln_ppl_stderr:.4f}"


def encode_speed(row: SweepRow) -> str:
    """`135 M/s`, millions of weights a second; `0.4 M/s`."""
    millions = row.encode_weights_per_second / 1e6
    return f"{millions:.0f} M/s" if millions >= 10 else f"{millions:.1f} M/s"


def conclusion(result: SweepResult) -> str:
    """Which levels the text cannot tell from the base, in one sentence."""
    base, same = result.base.type, result.indistinguishable
    if not same:
        return f"Every level's perplexity differs from {base} by more than two standard errors."
    names = ", ".join(same)
    return f"≈ marks what this text cannot tell from {base} (within two standard errors): {names}."


def engine_note(result: SweepResult) -> str:
    """Which engine scored what, where there were several; empty where there was one."""
    engines = {row.engine: [other.type for other in result.rows if other.engine == row.engine] for row in result.rows}
    if len(engines) < 2:
        return ""
    said = "; ".join(f"{engine}: {', '.join(types)}" for engine, types in engines.items())
    return f"Each level is compared with the base as its own engine scores it: {said}."


def speed_note(result: SweepResult) -> str:
    """What the speeds are of; empty where there are none."""
    sizes = [row.speed_bytes for row in result.rows if row.speed_bytes]
    if not sizes:
        return ""
    made_up = next((row.synthetic for row in result.rows if row.synthetic), None)
    if not made_up:
        return f"Speeds (tokens per second) are of the files themselves.{_cached(min(sizes), result)}"
    size = f"{show_bytes(min(sizes))} to {show_bytes(max(sizes))}"
    return f"* Speeds (tokens per second) are of a synthetic model, {size}: {made_up}."


def _cached(smallest: int, result: SweepResult) -> str:
    """What must be said of speeds where weights stay in the processor's cache from one token to the next."""
    cache = result.provenance.cache_bytes
    if cache is None or smallest >= 2 * cache:
        return ""
    return (
        f" The smallest is less than twice the processor's last-level cache ({show_bytes(cache)}): such speeds say "
        "nothing of larger models."
    )


def base_line(result: SweepResult) -> str:
    """The base in one sentence, with the noise floor."""
    base = result.base
    floor = "" if base.noise_floor is None else f" Noise floor of the KL divergence: {base.noise_floor:.1g} nats."
    return (
        f"Base: {base.type}, {show_bytes(base.bytes)} of weights, perplexity {base.perplexity:.3f} ± "
        f"{base.stderr:.3f}.{floor}"
    )


def as_markdown(result: SweepResult) -> str:
    """The table and what must be said with it, in Markdown."""
    columns = columns_for(result.rows)
    lines = [
        f"| {' | '.join(column.head for column in columns)} |",
        f"|{'|'.join('---' if column.left else '--:' for column in columns)}|",
        *(f"| {' | '.join(column.cell(row) for column in columns)} |" for row in result.rows),
        "",
        *sentences(result),
    ]
    return "\n".join(lines) + "\n"


def sentences(result: SweepResult) -> list[str]:
    """What must be said with the table: base, conclusion, engines, speeds, failures, notes."""
    said = [base_line(result), conclusion(result), engine_note(result), speed_note(result)]
    said += [f"{failure.type} failed: {failure.reason}" for failure in result.failures]
    said += [f"Note: {note}." for note in result.notes]
    return [sentence for sentence in said if sentence]


def as_csv(result: SweepResult) -> str:
    """Every field of every row, unrounded; what was not measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(SweepRow)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in result.rows)
    return text.getvalue()


def _speed(tokens_per_second: float | None) -> str:
    return "" if tokens_per_second is None else show_rate(tokens_per_second)
