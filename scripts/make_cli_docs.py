"""Write docs/cli.md from the command tree: what `--help` says, as plain Markdown, the same on every terminal.

    python -m scripts.make_cli_docs

Only what both Click and the Typers that carry their own Click know of a parameter is read; the word for a value that
has no metavar comes from the annotation, because Typers differ in how they name it.
"""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from pennyweight.cli.main import app

PATH = Path(__file__).parents[1] / "docs" / "cli.md"

WORDS = {int: "INTEGER", float: "FLOAT", Path: "PATH"}
"""What stands for a value of that type; TEXT for every other."""

HEAD = """\
# The command line

Made by `python -m scripts.make_cli_docs` from the help of each verb; a test compares the two.

Results go to stdout, progress to stderr and only on a terminal. `--json` prints exactly one JSON object on stdout.
Exit code 0: done; 1: the answer is no; 2: a bad request, with one line on stderr; 130: interrupted. Every verb has
`--help`.
"""


def page() -> str:
    """The whole of docs/cli.md."""
    root: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *_section("pennyweight", root, "COMMAND …"), *_commands(root)])


def _commands(root: Any) -> Iterator[str]:
    for name, command in root.commands.items():
        if not command.hidden:
            yield from _section(f"pennyweight {name}", command)


def _section(called: str, command: Any, rest: str = "") -> Iterator[str]:
    """One command's heading, usage, help, arguments and options."""
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and not item.hidden]
    types = typing.get_type_hints(command.callback)
    needed = [f"{item.opts[0]} {_word(item, types)}" for item in options if item.required]
    usage = [called, *(_word(item, types) for item in arguments), *needed, "[OPTIONS]", rest]
    yield f"## {called}\n\n```console\n{' '.join(filter(None, usage))}\n```\n\n{inspect.cleandoc(command.help)}\n"
    if arguments:
        yield "Arguments:\n"
        yield from (f"* `{_word(item, types)}`: {item.help}" for item in arguments)
        yield ""
    if options:
        yield "Options:\n"
        yield from (f"* {_names(item, types)}: {_said(item)}" for item in options)
        yield ""


def _names(option: Any, types: dict[str, Any]) -> str:
    """`-c`, `--ctx TOKENS`; of a switch with two sides, both."""
    names = [*option.opts, *option.secondary_opts]
    if not option.is_flag:
        names[-1] += f" {_word(option, types)}"
    return ", ".join(f"`{name}`" for name in names)


def _said(option: Any) -> str:
    """The help, and what holds where the option is not given."""
    if option.required:
        return f"{option.help} Required."
    if option.is_flag and option.secondary_opts:
        return f"{option.help} Default: `{(option.opts if option.default else option.secondary_opts)[0]}`."
    if option.is_flag or option.default is None:
        return option.help
    return f"{option.help} Default: `{option.default}`."


def _word(item: Any, types: dict[str, Any]) -> str:
    """What stands for the value: the metavar, or the word for its type."""
    if item.metavar:
        return item.metavar
    annotated = types[item.name]
    known = (annotated, *typing.get_args(annotated))
    return next((word for type_, word in WORDS.items() if type_ in known), "TEXT")


if __name__ == "__main__":
    PATH.write_text(page(), encoding="utf-8")
    print(f"{PATH}: written")
