"""A sweep as one HTML page: no script, no font, no picture from elsewhere; light or dark as the reader has it.

On a telephone the table scrolls under a finger, its first column standing still; everything else fits the width.
"""

import re
from collections.abc import Sequence
from html import escape

from pennyweight.core.units import show_bytes, show_seconds
from pennyweight.evaluation.sweep import SweepResult
from pennyweight.report.charts import ACCENT, INK, MUTED, PAPER, Drawing
from pennyweight.report.headline import headline
from pennyweight.report.table import Column, columns_for, sentences

STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfcf9; --ink: #1b2733; --muted: #66727f; --accent: #b3471d; --line: #dcd8cf; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e6e3dc; --muted: #9aa5b1; --accent: #ff9a6b; --line: #333b45; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.2rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: .2rem 0 .6rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.headline { font-size: 1.1rem; max-width: 44rem; }
.table { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .86rem; }
th, td { padding: .4rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 600; }
th[scope=row], th.words { text-align: left; position: sticky; left: 0; background: var(--paper); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption, .notes, dl { font-size: .92rem; }
figcaption { color: var(--muted); margin-top: .3rem; }
.notes { max-width: 44rem; padding-left: 1.1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
code { font-size: .88em; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
"""


def as_page(result: SweepResult, drawings: Sequence[Drawing]) -> str:
    """The page, the drawings inlined as SVG."""
    title = f"{escape(result.model)}: {len(result.rows)} levels of quantization"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{title}</h1>",
            f'<p class="headline">{escape(headline(result))}</p>',
            _table(result),
            '<ul class="notes">',
            *(f"<li>{escape(sentence)}</li>" for sentence in sentences(result)),
            "</ul>",
            '<div class="charts">',
            *(_figure(drawing) for drawing in drawings),
            "</div>",
            *_texts(result),
            "<h2>Where these numbers come from</h2>",
            _provenance(result),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _table(result: SweepResult) -> str:
    columns = columns_for(result.rows)
    heads = "".join(_head(column) for column in columns)
    lines = []
    for row in result.rows:
        first, *rest = (escape(column.cell(row)) for column in columns)
        lines.append(f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>')
    body = "\n".join(lines)
    # Focusable, so that it scrolls by keyboard too.
    return (
        '<div class="table" tabindex="0" role="region" aria-label="Table of levels"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _head(column: Column) -> str:
    words = ' class="words"' if column.left else ""
    return f'<th scope="col"{words} title="{escape(column.title)}">{escape(column.head)}</th>'


def _figure(drawing: Drawing) -> str:
    return f"<figure>\n{_inline(drawing)}\n<figcaption>{escape(drawing.chart.caption)}</figcaption>\n</figure>"


def _inline(drawing: Drawing) -> str:
    """The chart's SVG without its prologue, in the page's colours, its ids its own: a page has several drawings."""
    chart, svg = drawing.chart, drawing.svg[drawing.svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for color, variable in ((PAPER, "--paper"), (INK, "--ink"), (MUTED, "--muted"), (ACCENT, "--accent")):
        svg = svg.replace(color, f"var({variable})")
    svg = re.sub(r'\bid="', f'id="{chart.name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{chart.name}-", svg)
    # The names are fixed by HTML; written out, they would be the only addresses in the page.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(chart.alternative)}"', 1)


def _texts(result: SweepResult) -> list[str]:
    """What each level wrote, where they were asked to."""
    written = [(row.type, row.text) for row in result.rows if row.text]
    if not written:
        return []
    lines = "".join(f"<dt>{escape(type)}</dt><dd>{escape(' '.join(text.split()))}</dd>" for type, text in written)
    return ["<h2>The same beginning, continued</h2>", f"<dl>{lines}</dl>"]


def _provenance(result: SweepResult) -> str:
    said = result.provenance
    facts = (
        ("protocol", escape(said.protocol)),
        ("text", f"{escape(said.text)}, {said.chunks} chunks, {said.tokens:,} scored tokens"),
        ("text, SHA-256", f"<code>{escape(said.text_hash)}</code>"),
        ("model, tensors", f"<code>{escape(said.fingerprint)}</code>"),
        ("base", f"{escape(result.base.type)}, {show_bytes(result.base.bytes)}"),
        ("engine", escape(said.engine)),
        ("versions", escape(said.versions)),
        ("hardware", escape(said.hardware)),
        ("seed", str(said.seed)),
        ("when", f"{escape(said.when)}, {show_seconds(result.seconds)}"),
    )
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts) + "</dl>"
