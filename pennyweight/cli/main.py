"""The command `pennyweight`: one subcommand per verb, each in its own file; errors become one line and an exit code."""

import sys
from typing import Any, NoReturn

import typer

from pennyweight import __version__
from pennyweight.cli import bench, compare, demo, imatrix, inspect, perplexity, quantize, results, sweep, tasks
from pennyweight.core.errors import PennyweightError

INTERRUPTED, STOPPED = 130, "interrupted; nothing half-written is left behind"
# Click's UsageError, from wherever this Typer has it: newer ones carry their own Click, older ones import it.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="pennyweight",
    help="Fit language models onto the hardware you own: plan, make, measure, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(quantize.quantize)
app.command()(inspect.inspect)
app.command()(imatrix.imatrix)
app.command()(bench.bench)
app.command()(perplexity.perplexity)
app.command()(compare.compare)
app.command()(sweep.sweep)
app.command()(tasks.tasks)
app.command()(results.results)
app.command()(demo.demo)


@app.callback(invoke_without_command=True)
def options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(f"pennyweight {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit 0 done; 1 the answer is no; 2 bad request, one line on stderr; 130 interrupted."""
    try:
        code = app(standalone_mode=False) or 0
    except PennyweightError as error:
        _fail(str(error), error.exit_code)
    except USAGE_ERROR as error:
        _fail(f"{' '.join(error.format_message().split())} (see pennyweight --help)", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail(STOPPED, INTERRUPTED)
    except BrokenPipeError:  # `pennyweight inspect … | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(0)
    if code == INTERRUPTED:  # newer Typers turn Ctrl-C into an exit code of their own
        _fail(STOPPED, INTERRUPTED)
    sys.exit(code)


def _fail(line: str, code: int) -> NoReturn:
    print(f"pennyweight: {line}", file=sys.stderr)
    sys.exit(code)
