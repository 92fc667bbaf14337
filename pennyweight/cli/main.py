"""The command `pennyweight`: one subcommand per verb, each in its own file; errors become one line and an exit code."""

import errno
import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pennyweight import __version__
from pennyweight.cli.entry import listen, open_streams
from pennyweight.core.errors import PennyweightError

if TYPE_CHECKING:
    app: typer.Typer

VERBS = (
    *("plan", "quantize", "inspect", "lint", "convert", "imatrix", "bench", "perplexity", "compare", "sweep", "tasks"),
    *("run", "summarize", "serve", "calibrate", "results", "demo"),
)
"""In the order of the help; each is a function in a module of its name."""

INTERRUPTED, STOPPED = 130, "interrupted; nothing half-written is left behind"
FULL = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT)
# Click's UsageError, from wherever this Typer has it: newer ones carry their own Click, older ones import it.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


def __getattr__(name: str) -> Any:
    """`app`: the command with all its verbs."""
    if name == "app":
        return command(VERBS)
    raise AttributeError(f"module 'pennyweight.cli.main' has no attribute {name!r}")


@cache
def command(verbs: tuple[str, ...]) -> typer.Typer:
    """The command with these verbs."""
    made = typer.Typer(
        name="pennyweight",
        help="Fit language models onto the hardware you own: plan, make, measure, run.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for verb in verbs:
        made.command()(getattr(import_module(f"pennyweight.cli.{verb}"), verb))
    made.callback(invoke_without_command=True)(options)
    return made


def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        print(f"pennyweight {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:  # the bare command asks what there is: help is the answer, not an error
        print(context.get_help())


def wanted(arguments: Sequence[str]) -> tuple[str, ...]:
    """The verb that is named first, alone: the others need not be read; all of them where none is."""
    return (arguments[0],) if arguments and arguments[0] in VERBS else VERBS


def main() -> None:
    """Run the command line. Exit 0 done; 1 the answer is no; 2 bad request, one line on stderr; 130 interrupted."""
    open_streams()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is typed or piped need not be UTF-8
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal gets ? for ×; stderr has such a rule by default
    listen()
    try:
        code = command(wanted(sys.argv[1:]))(standalone_mode=False) or 0
        sys.stdout.flush()  # here, where a broken pipe is still understood
    except PennyweightError as error:
        _fail(str(error), error.exit_code)
    except USAGE_ERROR as error:
        _fail(f"{error.format_message()} (see pennyweight --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail(STOPPED, INTERRUPTED)
    except SystemExit as left:  # Click and Rich make one of a broken pipe: `… | head` has seen enough, no error
        sys.exit(0 if isinstance(left.__context__, BrokenPipeError) else left.code)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and (error.errno not in FULL or error.filename):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        if isinstance(error, BrokenPipeError):  # the same, of the last flush
            sys.exit(0)
        _fail(f"the output cannot be written: {error.strerror}; make room, or write it elsewhere", 2)
    if code == INTERRUPTED:  # newer Typers turn Ctrl-C into an exit code of their own
        _fail(STOPPED, INTERRUPTED)
    sys.exit(code)


def _fail(text: str, code: int) -> NoReturn:
    """Leave with one line on stderr, whatever white space a path in `text` has."""
    print(f"pennyweight: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(code)
