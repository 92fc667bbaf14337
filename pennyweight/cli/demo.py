"""`pennyweight demo [-o DIR]`."""

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.sweep import finish


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")] = Path("demo"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Sweep the embedded model over seven levels: make each, measure it, let it write a line; table and report."""
    from pennyweight.jobs.demo import demo as job

    finish(job(output), json=json)
