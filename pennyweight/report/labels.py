"""Labels beside the points of a chart, each where it covers no point, no line and no other label, if it can be."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Sequence[tuple[float, float]]
"""Corners of a line, in data units."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""

_GAP_POINTS = 6
Place = tuple[float, float, str, str]
"""Steps of `_GAP_POINTS` from the point, to the right and up, and the label's own alignment."""

_BESIDE: tuple[Place, ...] = (
    (1, 1, "left", "bottom"),
    (1, 0, "left", "center"),
    (-1, -1, "right", "top"),
    (-1, 0, "right", "center"),
    (1, -1, "left", "top"),
    (-1, 1, "right", "bottom"),
)
"""Where a label may stand, the best first."""

_ABOVE: Place = (0, 1, "center", "bottom")
_BELOW: Place = (0, -1, "center", "top")


def place_labels(
    axes: "Axes",
    x: Sequence[float],
    y: Sequence[float],
    texts: Sequence[str],
    color: str,
    *,
    lines: Sequence[Line] = (),
    reach: Sequence[float] | None = None,
) -> None:
    """Write `texts[i]` beside (x[i], y[i]), in data units; limits and scales of the axes must be set already.

    `lines` are what labels should not cover, and so are error bars of `reach[i]` up and down, in data units, at whose
    ends a label may stand too.
    """
    if not texts:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure: Any = axes.get_figure(root=True)
    figure.draw_without_rendering()  # the layout decides where points are, and only then
    renderer = FigureCanvasAgg(figure).get_renderer()
    reach = reach or [0.0] * len(texts)
    bars = [[(px, py - r), (px, py + r)] for px, py, r in zip(x, y, reach, strict=True)]
    inside, taken = _box(axes.get_window_extent(renderer)), _obstacles(axes, [*lines, *bars], x, y)
    for px, py, r, text in zip(x, y, reach, texts, strict=True):
        spots = [*((py, place) for place in _BESIDE), (py + r, _ABOVE), (py - r, _BELOW)]
        boxes = []
        for spot, place in spots:
            label = _write(axes, px, spot, text, place, color)
            boxes.append(_box(label.get_window_extent(renderer)))
            label.remove()
        costs = [sum(_overlap(box, other) for other in taken) + 4 * _outside(box, inside) for box in boxes]
        best = costs.index(min(costs))
        spot, place = spots[best]
        _write(axes, px, spot, text, place, color)
        taken.append(boxes[best])


def _obstacles(axes: "Axes", lines: Sequence[Line], x: Sequence[float], y: Sequence[float]) -> list[Box]:
    """Squares over every point and along every line."""
    to_pixels = axes.transData.transform
    points = to_pixels(list(zip(x, y, strict=True))).tolist()
    on_lines = [point for line in lines for point in _dense(to_pixels(line).tolist())]
    return [_square(px, py, 8) for px, py in points] + [_square(px, py, 5) for px, py in on_lines]


def _dense(corners: Line) -> Iterator[tuple[float, float]]:
    """Points at most four pixels apart along a line of pixels."""
    for (ax, ay), (bx, by) in pairwise(corners):
        steps = 1 + int(max(abs(bx - ax), abs(by - ay)) / 4)
        yield from ((ax + i / steps * (bx - ax), ay + i / steps * (by - ay)) for i in range(steps + 1))


def _square(x: float, y: float, side: float) -> Box:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def _write(axes: "Axes", x: float, y: float, text: str, place: Place, color: str):
    right, up, horizontal, vertical = place
    return axes.annotate(
        text,
        (x, y),
        xytext=(right * _GAP_POINTS, up * _GAP_POINTS),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        fontsize=9,
        color=color,
    )


def _box(extent: Any) -> Box:
    """matplotlib's Bbox as four numbers: thousands of them are compared, and its own properties are slow."""
    left, bottom, right, top = extent.extents.tolist()
    return left, bottom, right, top


def _overlap(one: Box, other: Box) -> float:
    """Pixels² that both cover."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _outside(box: Box, inside: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, inside)
