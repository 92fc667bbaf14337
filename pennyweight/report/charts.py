"""A sweep as charts: divergence against size, paired loss against bits, decode speed against size; SVG and PNG.

Each chart is drawn in four colours, on white. The HTML report turns `PAPER`, `INK`, `MUTED` and `ACCENT` into variables
of its style sheet, so that the same drawing is light or dark. Nothing here touches matplotlib's global state.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log10
from statistics import median
from typing import TYPE_CHECKING, Any

from pennyweight.core.units import GIB, MIB
from pennyweight.evaluation.sweep import SweepResult, SweepRow
from pennyweight.report.labels import place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, MUTED, ACCENT = "#ffffff", "#1b2733", "#66727f", "#b3471d"
"""Background; text and axes; grid and second lines; the data."""

SIZE_INCHES, PNG_DPI = (5.2, 4.2), 200
"""So that 10 point text is 9 pixels high on a telephone and 14 on a desk, where the page scales it."""

STYLE: Any = {  # matplotlib types its keys by name
    "font.family": "DejaVu Sans",  # matplotlib's own: the same drawing on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "pennyweight",  # equal sweeps give equal bytes
    "text.color": INK,
    "axes.facecolor": "none",  # the figure's own background shows
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": MUTED,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One drawing.

    Attributes:
        name: of its files. caption: what to see. alternative: the same for who cannot see it, numbers included.
        draw: puts it on axes.
    """

    name: str
    caption: str
    alternative: str
    draw: "Callable[[Axes], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart, drawn: an SVG document and the bytes of a PNG, both on `PAPER`."""

    chart: Chart
    svg: str
    png: bytes


def charts(result: SweepResult) -> tuple[Chart, ...]:
    """The charts that this sweep has the numbers for."""
    rows = result.rows
    found = [
        Chart(
            name="divergence",
            caption="How far the predictions move (mean KL divergence, log scale) for how many bytes. "
            "The line joins the levels that no other beats in both.",
            alternative="KL divergence by size: " + _listed((row.type, f"{row.kld_mean:.5f} nats") for row in rows),
            draw=lambda axes: _divergence(axes, result),
        ),
        Chart(
            name="loss",
            caption="Loss of perplexity against bits per weight, paired token by token; bars are two standard errors. "
            "A bar that reaches the line at 0 is no measured loss. Linear near 0, logarithmic beyond.",
            alternative="Δ ln perplexity by level: " + _listed((row.type, f"{row.delta_ln_ppl:+.4f}") for row in rows),
            draw=lambda axes: _loss(axes, rows),
        ),
    ]
    timed = [row for row in rows if row.decode_tok_s and row.speed_bytes]
    if timed:
        found.append(
            Chart(
                name="speed",
                caption="Decode speed against the bytes read for each token. The line is memory traffic at a constant "
                "rate, that of the best level: below it, time goes elsewhere.",
                alternative="Decode speed by level: "
                + _listed((row.type, f"{row.decode_tok_s:.1f} tokens per second") for row in timed),
                draw=lambda axes: _speed(axes, timed),
            )
        )
    return tuple(found)


def drawn(chart: Chart) -> Drawing:
    """The chart as SVG (text as outlines) and PNG. Without dates: equal sweeps give equal bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor=PAPER)
        chart.draw(figure.add_subplot())
        title = {"Date": None, "Creator": "Pennyweight", "Title": chart.alternative}
        svg = _saved(figure, format="svg", metadata=title).decode()
        png = _saved(figure, format="png", dpi=PNG_DPI, metadata={"Software": "Pennyweight"})
    return Drawing(chart=chart, svg=svg, png=png)


def _saved(figure: "Figure", **how: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def _divergence(axes: "Axes", result: SweepResult) -> None:
    rows = [row for row in result.rows if row.kld_mean > 0]  # a logarithm has no place for a level equal to its base
    unit, name = _unit(rows)
    x, y = [row.bytes / unit for row in rows], [row.kld_mean for row in rows]
    line = [(row.bytes / unit, row.kld_mean) for row in pareto(rows)]
    axes.plot([size for size, _ in line], [kld for _, kld in line], color=ACCENT, linewidth=1.2, alpha=0.6)
    errors = [[min(row.kld_stderr, 0.9 * row.kld_mean) for row in rows], [row.kld_stderr for row in rows]]
    axes.errorbar(x, y, yerr=errors, **_MARKS)
    axes.set_yscale("log")
    floor = result.base.noise_floor
    if floor and rows and floor > min(y) / 100:
        axes.axhline(floor, color=MUTED, linestyle=":", linewidth=1.2, label=f"noise floor {floor:.0e}")
        axes.legend(frameon=False, loc="upper right")
    axes.set(xlabel=f"size of the file ({name})", ylabel="mean KL divergence (nats)")
    axes.margins(0.12)
    place_labels(axes, x, y, [row.type for row in rows], INK, lines=[line])


def _loss(axes: "Axes", rows: Sequence[SweepRow]) -> None:
    x, y = [row.bits_per_weight for row in rows], [row.delta_ln_ppl for row in rows]
    axes.axhline(0, color=MUTED, linewidth=1)
    reach = [2 * row.delta_ln_ppl_stderr for row in rows]
    axes.errorbar(x, y, yerr=reach, **_MARKS)
    # Linear where a loss is no measured loss, a logarithm beyond; a power of ten, so that ticks keep their distance.
    error = median(row.delta_ln_ppl_stderr for row in rows) or 1e-4
    axes.set_yscale("symlog", linthresh=10 ** round(log10(2 * error)), linscale=1)
    axes.set(xlabel="bits per weight", ylabel="Δ ln perplexity, ± 2 standard errors")
    axes.margins(0.12)
    place_labels(axes, x, y, [row.type for row in rows], INK, lines=[[(min(x), 0), (max(x), 0)]], reach=reach)


def _speed(axes: "Axes", rows: Sequence[SweepRow]) -> None:
    unit, name = _unit(rows, timed=True)
    x, y = [(row.speed_bytes or 0) / unit for row in rows], [row.decode_tok_s or 0 for row in rows]
    bandwidth = max((row.speed_bytes or 0) * (row.decode_tok_s or 0) for row in rows)
    across = [min(x) * 0.9 + i / 100 * (max(x) * 1.08 - min(x) * 0.9) for i in range(101)]
    line = [(size, bandwidth / (unit * size)) for size in across]
    axes.plot(
        *zip(*line, strict=True),
        color=MUTED,
        linewidth=1.2,
        linestyle="--",
        label=f"{bandwidth / 1e9:.1f} GB/s, the best level's",
    )
    axes.errorbar(x, y, yerr=[row.decode_stdev or 0 for row in rows], **_MARKS)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper right")
    what = "synthetic model's weights" if any(row.synthetic for row in rows) else "weights"
    axes.set(xlabel=f"{what} ({name})", ylabel="decode speed (tokens/s)")
    axes.margins(x=0.1)
    place_labels(axes, x, y, [row.type for row in rows], INK, lines=[line])


def pareto(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """The levels that no other beats in both bytes and mean divergence, the smallest first."""
    best: list[SweepRow] = []
    for row in sorted(rows, key=lambda row: (row.bytes, row.kld_mean)):
        if not best or row.kld_mean < best[-1].kld_mean:
            best.append(row)
    return best


_MARKS = {
    "fmt": "o",
    "color": ACCENT,
    "markersize": 5.5,
    "elinewidth": 1.2,
    "capsize": 3,
}


def _unit(rows: Sequence[SweepRow], *, timed: bool = False) -> tuple[int, str]:
    """GiB, or MiB for models whose largest level is below a tenth of one."""
    largest = max((row.speed_bytes or 0 if timed else row.bytes for row in rows), default=0)
    return (GIB, "GiB") if largest >= GIB / 10 else (MIB, "MiB")


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{name} {value}" for name, value in pairs)
