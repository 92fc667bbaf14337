"""The page and its charts: whole HTML, nothing from elsewhere, every picture described; and how a browser shows it."""

import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.image import imread

from pennyweight.evaluation.sweep import SweepResult
from pennyweight.report.charts import Drawing, charts, drawn, pareto
from pennyweight.report.page import as_page
from tests.report.cases import failed_case, sweep_case

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
MEASURE = """addEventListener('load', () => {
  const page = frames[0].document, root = page.documentElement, overlaps = []
  const parts = [...page.querySelectorAll('h1, h2, .headline, .table, .notes li, svg, figcaption, dt, dd')]
  const boxes = parts.map(part => part.getBoundingClientRect())
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left)
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
    if (across > 1 && down > 1) overlaps.push(parts[i].className + parts[i].tagName + '/' + parts[i + 1 + j].tagName)
  }))
  document.title = [frames[0].innerWidth, root.scrollWidth, root.scrollHeight, 'overlaps:', ...overlaps].join(' ')
})"""
"""The page's width, the width and height it scrolls over, and which of its parts cover each other."""

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Every element with its attributes, and whether all that was opened was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def result() -> SweepResult:
    return sweep_case(texts=True)


@pytest.fixture(scope="module")
def drawings(result: SweepResult) -> list[Drawing]:
    return [drawn(chart) for chart in charts(result)]


@pytest.fixture(scope="module")
def text(result: SweepResult, drawings: list[Drawing]) -> str:
    return as_page(result, drawings)


def test_the_page_is_whole_html_for_telephones_too(text: str) -> None:
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert len(page.all("title")) > 0
    assert "prefers-color-scheme: dark" in text
    assert len(page.all("h1")) == 1


def test_nothing_comes_from_elsewhere(text: str) -> None:
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "base")
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "://" not in text
    assert "@import" not in text
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", text))


def test_every_id_is_unique_and_every_reference_meets_one(text: str) -> None:
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    wanted = {value[1:] for _, a in page.elements for name in ("href", "xlink:href") if (value := a.get(name))}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert wanted <= set(ids)


def test_every_chart_says_its_numbers_to_who_cannot_see_it(text: str, result: SweepResult) -> None:
    drawings = Page(text).all("svg")
    assert len(drawings) == 3
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert all(row.type in (drawing["aria-label"] or "") for row in result.rows)
    assert len(Page(text).all("figcaption")) == 3


def test_the_charts_take_the_page_s_colours(text: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--ink)" in drawings
    assert "var(--accent)" in drawings
    assert not re.search(r"fill: #(?!none)[0-9a-f]{6}|stroke: #[0-9a-f]{6}", drawings)


def test_the_table_has_a_row_for_each_level_and_says_which_cell_heads_what(text: str, result: SweepResult) -> None:
    page = Page(text)
    rows = [attributes for attributes in page.all("th") if attributes.get("scope") == "row"]
    assert len(rows) == len(result.rows)
    columns = [attributes for attributes in page.all("th") if attributes.get("scope") == "col"]
    assert len(page.all("td")) == len(rows) * (len(columns) - 1)
    assert all(attributes["title"] for attributes in columns)


def test_provenance_is_complete(text: str, result: SweepResult) -> None:
    shown = html.unescape(" ".join(Page(text).text))
    said = result.provenance
    for fact in (said.protocol, said.text_hash, said.engine, said.versions, said.hardware, said.when, "seed"):
        assert fact in shown
    assert "It was a dark night" in shown


def test_names_from_strangers_files_stay_text() -> None:
    evil = '<script>alert(1)</script>"&'
    result = replace(sweep_case(), model=evil, provenance=replace(sweep_case().provenance, text=evil))
    page = Page(as_page(result, ()))
    assert page.all("script") == []
    assert evil in "".join(page.text)


def test_a_failed_level_stands_in_the_page() -> None:
    assert "Q2_K failed: the disk is full" in as_page(failed_case(), ())


def test_without_speeds_there_is_no_chart_of_speeds() -> None:
    assert [chart.name for chart in charts(sweep_case(speeds=False))] == ["divergence", "loss"]
    assert [chart.name for chart in charts(sweep_case())] == ["divergence", "loss", "speed"]


def test_the_pareto_line_joins_what_nothing_else_beats() -> None:
    rows = sweep_case().rows
    worse = replace(rows[3], bytes=rows[3].bytes + 1, kld_mean=rows[3].kld_mean * 2, type="worse")
    assert [row.type for row in pareto([*rows, worse])] == [row.type for row in reversed(rows)]


def test_a_level_equal_to_its_base_is_drawn_without_a_logarithm_of_nothing() -> None:
    whole = sweep_case()
    same = replace(whole.rows[0], kld_mean=0.0, kld_stderr=0.0, delta_ln_ppl=0.0, delta_ln_ppl_stderr=0.0)
    for rows in ((same, *whole.rows[1:3]), (same,)):
        for chart in charts(replace(whole, rows=rows))[:2]:
            assert drawn(chart).svg.count("<svg") == 1


def test_equal_sweeps_give_equal_drawings(result: SweepResult, drawings: list[Drawing]) -> None:
    again = drawn(charts(result)[0])
    assert (again.svg, again.png) == (drawings[0].svg, drawings[0].png)


def test_labels_of_a_chart_do_not_cover_each_other() -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pennyweight.report.charts import SIZE_INCHES, STYLE

    for chart in charts(sweep_case()):
        with rc_context(STYLE):
            figure = Figure(figsize=SIZE_INCHES, layout="constrained")
            axes = figure.add_subplot()
            chart.draw(axes)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            boxes = [label.get_window_extent() for label in axes.texts]
        assert len(boxes) == 7
        for i, one in enumerate(boxes):
            assert one.x0 >= 0
            assert one.x1 <= figure.bbox.x1, f"{chart.name}: a label is cut"
            assert not any(one.overlaps(other) for other in boxes[i + 1 :]), f"{chart.name}: labels overlap"


def test_pictures_are_on_white_and_large_enough_for_print(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        pixels = imread(io.BytesIO(drawing.png))
        assert pixels.shape[0] >= 800
        assert pixels.shape[1] >= 1000
        assert (pixels[0, 0] == 1).all()
        assert pixels.std() > 0.05, "not blank"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: what a browser draws is not looked at here")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_the_page_without_blank_or_sideways_scrolling(width: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    # A browser's own window has a least width above a telephone's; a frame has exactly the width it is given.
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<!doctype html><style>body { margin: 0 } iframe { border: 0; display: block }</style>"
        f'<iframe src="report.html" width="{width}" height="900"></iframe>'
        f"<script>{MEASURE}</script>"
    )
    dom = _chromium("--allow-file-access-from-files", "--dump-dom", frame.as_uri())
    found = re.search(r"<title>(\d+) (\d+) (\d+) (.*)</title>", dom)
    assert found is not None, dom
    inner, scrolled, height = map(int, found.groups()[:3])
    assert found[4] == "overlaps:", "nothing stands on anything else"
    assert inner == width
    assert scrolled <= inner, "nothing sticks out sideways"
    assert height > 900
    shot = tmp_path / "page.png"
    _chromium(f"--screenshot={shot}", f"--window-size={max(width, 500)},900", frame.as_uri())
    pixels = imread(shot)[:, :width]
    assert pixels[..., :3].std() > 0.05, "the page is not blank"


def _chromium(*arguments: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
