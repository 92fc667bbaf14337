"""`pennyweight serve MODEL`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.layers import LAYERS_HELP, layers
from pennyweight.cli.output import print_json
from pennyweight.core.units import parse_tokens, show_bytes

if TYPE_CHECKING:
    from pennyweight.jobs.serve import Served

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    ctx: Annotated[
        str | None,
        typer.Option("-c", "--ctx", metavar="TOKENS", help="Context of all slots together; default: 8k each."),
    ] = None,
    slots: Annotated[int, typer.Option("-np", "--parallel", help="Requests answered at once.")] = 4,
    host: Annotated[str, typer.Option(help="Where to listen; others than this machine need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8080,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Clients must show it. Safer: the file, or LLAMA_API_KEY.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(metavar="F", help="Keys, one a line.")] = None,
    gpu_layers: Annotated[str, typer.Option("-ngl", metavar="N|auto|all", help=LAYERS_HELP)] = "auto",
    cache_type_k: Annotated[str, typer.Option("-ctk", metavar="TYPE", help="What keys are stored in.")] = "f16",
    cache_type_v: Annotated[str, typer.Option("-ctv", metavar="TYPE", help="What values are stored in.")] = "f16",
    flash_attention: Annotated[str, typer.Option("-fa", metavar="on|off|auto", help="Flash attention.")] = "auto",
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object when the server is ready.")] = False,
) -> None:
    """Serve MODEL to OpenAI's clients, on this machine alone unless told otherwise, until Ctrl-C."""
    from pennyweight.cli.bench import three_way
    from pennyweight.jobs.serve import ServeOptions
    from pennyweight.jobs.serve import serve as job
    from pennyweight.jobs.speaking import SpeakingOptions

    loading = SpeakingOptions(
        ctx=None if ctx is None else parse_tokens(ctx),
        gpu_layers=layers(gpu_layers),
        type_k=cache_type_k,
        type_v=cache_type_v,
        flash_attention=three_way(flash_attention),
        threads=threads,
    )
    keys = _keys(api_key, api_key_file)
    options = ServeOptions(loading=loading, slots=slots, host=host, port=port, api_keys=keys)
    job(model, options, on_ready=(lambda served: _print_flushed(served)) if json else _show)
    print("stopped", file=sys.stderr)


def _keys(key: str | None, file: Path | None) -> tuple[str, ...]:
    keys = [] if key is None else [key]
    if file is not None:
        try:
            found = [line.strip() for line in file.read_text().splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"--api-key-file {file} cannot be read: {error}") from error
        if not found:  # whoever names one wants keys to be asked for
            raise typer.BadParameter(f"--api-key-file {file} holds no key; one a line is wanted")
        keys += found
    return tuple(keys)


def _print_flushed(served: "Served") -> None:
    print_json(served)
    sys.stdout.flush()


def _show(served: "Served") -> None:
    memory = "" if served.memory_bytes is None else f", about {show_bytes(served.memory_bytes)}"
    print(f"{served.address}/v1 serves {served.model}", flush=True)
    print(
        f"{served.engine}: {served.placement}; {served.slots} slots of {served.n_ctx // served.slots:,} "
        f"tokens{memory}; {'a' if served.key_needed else 'no'} key is needed; /health, /metrics; Ctrl-C stops",
        file=sys.stderr,
    )
    for note in served.notes:
        print(f"note: {note}", file=sys.stderr)
