"""The cliff, drawn: decode speed against layers on the card and against model size; on the terminal and as PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.containers.atomic import write_bytes
from pennyweight.core.units import GIB, show_rate
from pennyweight.planner.curve import Curve, SizePoint
from pennyweight.report.charts import ACCENT, INK, MUTED, PAPER, PNG_DPI, STYLE
from pennyweight.report.plan_table import gib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 10
BAR = "█"


def layers_text(curve: Curve, width: int) -> list[str]:
    """A bar for some of the layer counts, the knee among them and marked in words."""
    points = curve.points
    step = max(1, (len(points) - 1) // ROWS)
    shown = {*range(0, len(points), step), len(points) - 1, curve.knee.gpu_layers}
    lines = []
    for number in sorted(shown):
        point = points[number]
        mark = " < knee: the most that fits" if point == curve.knee else "" if point.fits else " (does not fit)"
        lines.append(_bar(f"{number:>4}", point.tokens_per_second, points[-1].tokens_per_second, mark, width))
    return ["layers on the card → tokens/s", *lines]


def sizes_text(points: Sequence[SizePoint], room: float, width: int) -> list[str]:
    """A bar for some sizes, on both sides of what the card has room for, and for the last that it has."""
    step = max(1, len(points) // ROWS)
    inside = [point for point in points if point.weights_bytes <= room]
    shown = [point for number, point in enumerate(points, 1) if number % step == 0 or point in inside[-1:]]
    most = max(point.tokens_per_second for point in shown)
    lines = []
    for point in shown:
        is_knee = point in inside[-1:]
        mark = f" < knee at {gib(room)}" if is_knee else "" if point.weights_bytes <= room else " (spills)"
        lines.append(_bar(f"{gib(point.weights_bytes):>5}", point.tokens_per_second, most, mark, width))
    return ["GiB of weights → tokens/s", *lines]


def _bar(label: str, value: float, most: float, mark: str, width: int) -> str:
    room = max(width - len(label) - 2 - 7 - len(" < knee: the most that fits"), 8)
    size = max(round(room * value / most), 0) if most else 0
    return f"{label}  {BAR * size}{' ' if size else ''}{show_rate(value)}{mark}"[:width]


def draw_layers(axes: "Axes", curve: Curve) -> None:
    """Speed against layers on the card; what the card does not take is dashed."""
    inside = [point for point in curve.points if point.fits]
    beyond = [point for point in curve.points if not point.fits]
    axes.plot([p.gpu_layers for p in inside], [p.tokens_per_second for p in inside], color=ACCENT, linewidth=1.8)
    if beyond:
        joined = [inside[-1], *beyond] if inside else beyond
        axes.plot(
            [p.gpu_layers for p in joined],
            [p.tokens_per_second for p in joined],
            color=MUTED,
            linewidth=1.4,
            linestyle="--",
        )
    _mark(axes, curve.knee.gpu_layers, curve.knee.tokens_per_second, _knee_words(curve))
    axes.set(xlabel="layers on the card", ylabel="decode speed (tokens/s)", title="As layers move to the card")
    axes.set_ylim(bottom=0)


def draw_sizes(axes: "Axes", points: Sequence[SizePoint], room: float, size: float) -> None:
    """Speed against the size of a model like this one, from where it is worth looking at."""
    shown = [point for point in points if point.weights_bytes >= 0.25 * room]
    axes.plot([p.weights_bytes / GIB for p in shown], [p.tokens_per_second for p in shown], color=ACCENT, linewidth=1.8)
    axes.axvline(room / GIB, color=MUTED, linewidth=1.2, linestyle=":")
    nearest = min(shown, key=lambda point: abs(point.weights_bytes - room))
    _mark(axes, room / GIB, nearest.tokens_per_second, f"knee: {gib(room)} GiB of weights")
    own = min(shown, key=lambda point: abs(point.weights_bytes - size))
    axes.plot([size / GIB], [own.tokens_per_second], marker="o", color=INK, markersize=5.5)
    axes.set(xlabel="weights (GiB)", ylabel="decode speed (tokens/s)", title="As the model grows (●: the choice)")
    axes.set_ylim(bottom=0)


def _knee_words(curve: Curve) -> str:
    if len(curve.points) == curve.knee.gpu_layers + 1:
        return f"all layers: {show_rate(curve.knee.tokens_per_second)} tokens/s"
    return f"knee: {curve.knee.gpu_layers} layers, {show_rate(curve.knee.tokens_per_second)} tokens/s"


def _mark(axes: "Axes", x: float, y: float, words: str) -> None:
    axes.plot([x], [y], marker="o", color=ACCENT, markersize=6)
    low, high = axes.get_xlim()
    right = x > (low + high) / 2
    axes.annotate(
        words,
        (x, y),
        xytext=(-8 if right else 8, 10),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=9,
        color=INK,
    )


def png(title: str, layers: Curve, sizes: Sequence[SizePoint], room: float, size: float) -> bytes:
    """Both drawings side by side, as the bytes of a PNG."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained", facecolor=PAPER)
        left, right = figure.subplots(1, 2)
        draw_layers(left, layers)
        draw_sizes(right, sizes, room, size)
        figure.suptitle(title, color=INK, fontsize=11)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": "Pennyweight"})
    return buffer.getvalue()


def write_png(path: Path, title: str, layers: Curve, sizes: Sequence[SizePoint], room: float, size: float) -> None:
    """The same to a file, whole or not at all."""
    write_bytes(path, png(title, layers, sizes, room, size))
