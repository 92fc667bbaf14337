"""The files of a sweep's report: table, numbers, charts and page, each written whole or not at all."""

import json
from dataclasses import asdict
from pathlib import Path

from pennyweight.containers.atomic import write_bytes
from pennyweight.evaluation.sweep import SweepResult
from pennyweight.report.charts import charts, drawn
from pennyweight.report.page import as_page
from pennyweight.report.table import as_csv, as_markdown

PAGE = "report.html"


def write_report(result: SweepResult, directory: Path) -> tuple[Path, ...]:
    """Write everything into `directory` and return the paths, the page first. Raises: OutputError."""
    drawings = [drawn(chart) for chart in charts(result)]
    contents: dict[str, bytes] = {
        PAGE: as_page(result, drawings).encode(),
        "sweep.md": as_markdown(result).encode(),
        "sweep.csv": as_csv(result).encode(),
        "sweep.json": (json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n").encode(),
    }
    for drawing in drawings:
        contents[f"{drawing.chart.name}.svg"] = drawing.svg.encode()
        contents[f"{drawing.chart.name}.png"] = drawing.png
    for name, data in contents.items():
        write_bytes(directory / name, data)
    return tuple(directory / name for name in contents)
