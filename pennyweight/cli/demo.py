"""`pennyweight demo [-o DIR]`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.core.units import show_bytes

if TYPE_CHECKING:
    from pennyweight.jobs.demo import DemoResult


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the files go.")] = Path("demo"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantize the embedded model to seven levels, load each in llama.cpp and let it write a line."""
    from pennyweight.jobs.demo import demo as job

    result = job(output)
    if json:
        print_json(result)
    else:
        _show(result, output)


def _show(result: "DemoResult", directory: Path) -> None:
    rows = [
        (
            row.type,
            show_bytes(row.bytes),
            f"{row.bits_per_weight:.2f}",
            f"{row.encode_weights_per_second / 1e6:.0f} M/s",
            " ".join(row.text.split()),
        )
        for row in result.rows
    ]
    print_table(
        f"The embedded model at seven levels; llama.cpp continues “{result.prompt}”",
        ("type", "size", "bits/weight", "encode", "text"),
        rows,
        left=("type", "text"),
    )
    print(f"The files are in {directory}/: any llama.cpp runs them.")
