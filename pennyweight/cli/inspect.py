"""`pennyweight inspect FILE`."""

from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.core.units import show_bytes

if TYPE_CHECKING:
    from pennyweight.jobs.inspect import InspectResult


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .gguf, a Hugging Face directory, or `embedded`.")],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what is in a model file, from its header alone: metadata, formats, bytes, bits per weight."""
    from pennyweight.jobs.inspect import inspect as job

    result = job(file)
    if json:
        print_json(result)
    else:
        _show(result, tensors)


def _show(result: "InspectResult", list_tensors: bool) -> None:
    print_table("", ("key", "value"), [(k, _one_line(v)) for k, v in result.metadata.items()], left=("key", "value"))
    if list_tensors:
        rows = [(n, " × ".join(map(str, t.shape)), t.format, f"{t.bytes:,}") for n, t in result.tensors.items()]
        print_table("", ("tensor", "shape", "format", "bytes"), rows, left=("tensor", "shape", "format"))
    shares = [
        (name, str(s.tensors), f"{s.weights:,}", show_bytes(s.bytes), f"{100 * s.bytes / result.bytes:.1f} %")
        for name, s in result.by_format.items()
    ]
    print_table("", ("format", "tensors", "weights", "bytes", "share"), shares, left=("format",))
    print(
        f"{result.source}: {len(result.tensors)} tensors, {result.weights:,} weights, "
        f"{show_bytes(result.bytes)}, {result.bits_per_weight:.2f} bits per weight"
    )


def _one_line(value: object) -> str:
    """A metadata value on one line, control characters made visible: it comes from a stranger's file."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 100 else f"{text[:97]}…"
