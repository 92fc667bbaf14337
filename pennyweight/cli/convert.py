"""`pennyweight convert A B --to LAYOUT`."""

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.output import print_json
from pennyweight.core.units import show_bytes, show_seconds

TO_HELP = "gptq (version 1: symmetric, or no zero point 0), gptq_v2, awq (4 bits) or compressed-tensors."


def convert(
    source: Annotated[
        str, typer.Argument(metavar="A", help="A GPTQ, AWQ or compressed-tensors directory, or user/repo.")
    ],
    output: Annotated[Path, typer.Argument(metavar="B", help="The directory to write; not there yet, or empty.")],
    to: Annotated[str, typer.Option("--to", metavar="LAYOUT", help=TO_HELP)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Move a calibrated checkpoint to another layout with the same codes: exact, or refused with the reason."""
    from pennyweight.jobs.convert import convert as job

    result = job(source, output, to)
    if json:
        print_json(result)
        return
    print(f"{result.output}")
    print(f"  {result.source_layout} → {result.layout}: {result.modules} matrices, {show_bytes(result.bytes)}")
    print(f"  same codes, scales and zero points; {show_seconds(result.seconds)}")
