"""`pennyweight run MODEL`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.layers import LAYERS_HELP, layers
from pennyweight.cli.output import print_json
from pennyweight.cli.seed import MOST_SEED
from pennyweight.core.units import parse_tokens, show_bytes, show_seconds

if TYPE_CHECKING:
    from pennyweight.jobs.run import Conversation, RunResult

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."
PROMPT_HELP = "What to answer; default: what stands on stdin, or a chat on a terminal."
INTERRUPTED = 130
_NOT_FOR_TERMINALS = {code: "�" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", metavar="TEXT", help=PROMPT_HELP)] = None,
    tokens: Annotated[
        int | None, typer.Option("-n", "--n-predict", min=0, help="Most tokens of an answer; default: until it ends.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    temperature: Annotated[float, typer.Option("--temp", min=0, help="0 takes the likeliest token.")] = 0.8,
    top_p: Annotated[float, typer.Option("--top-p", help="Likeliest tokens that reach this together.")] = 0.95,
    top_k: Annotated[int, typer.Option("--top-k", help="Likeliest tokens to choose from; 0: all.")] = 40,
    min_p: Annotated[float, typer.Option("--min-p", help="Least fraction of the likeliest's probability.")] = 0.05,
    seed: Annotated[
        int | None, typer.Option("-s", "--seed", min=0, max=MOST_SEED, help="Of the draws; default: a new one.")
    ] = None,
    ctx: Annotated[
        str | None, typer.Option("-c", "--ctx", metavar="TOKENS", help="Context; default: the model's, 8k at most.")
    ] = None,
    gpu_layers: Annotated[str, typer.Option("-ngl", metavar="N|auto|all", help=LAYERS_HELP)] = "auto",
    cache_type_k: Annotated[str, typer.Option("-ctk", metavar="TYPE", help="What keys are stored in.")] = "f16",
    cache_type_v: Annotated[str, typer.Option("-ctv", metavar="TYPE", help="What values are stored in.")] = "f16",
    flash_attention: Annotated[str, typer.Option("-fa", metavar="on|off|auto", help="Flash attention.")] = "auto",
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    engine: Annotated[str, typer.Option(help="What runs the model: llama.cpp or torch.")] = "llama.cpp",
    no_template: Annotated[
        bool, typer.Option("--no-template", help="Send the text as it is: plain completion.")
    ] = False,
    thinking: Annotated[bool, typer.Option("--think", help="Let models that can think aloud first.")] = False,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on after the model's end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Generate text, or chat, with the speed of every answer beneath it."""
    from pennyweight.cli.bench import three_way
    from pennyweight.jobs.run import RunOptions, conversation
    from pennyweight.jobs.speaking import SpeakingOptions
    from pennyweight.runtimes.llama_cpp import Sampling

    options = RunOptions(
        system=system,
        tokens=tokens,
        sampling=Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p),
        seed=seed,
        template=not no_template,
        thinking=thinking,
        ignore_eos=ignore_eos,
    )
    loading = SpeakingOptions(
        ctx=None if ctx is None else parse_tokens(ctx),
        engine=engine,
        gpu_layers=layers(gpu_layers),
        type_k=cache_type_k,
        type_v=cache_type_v,
        flash_attention=three_way(flash_attention),
        threads=threads,
    )
    chat = prompt is None and sys.stdin.isatty()
    if chat and json:
        raise typer.BadParameter("--json answers one prompt; give it with -p or on stdin")
    if prompt is None and not chat:
        prompt = _stdin()
    with conversation(model, options, loading) as talk:
        _tell(talk, template=not no_template)
        if prompt is None:
            _chat(talk)
        elif json:
            print_json(_one(talk.say(prompt)))
        else:
            result = talk.say(prompt, _show_text)
            print(flush=True)
            _show_numbers(_one(result))


def _stdin() -> str:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text:
        raise typer.BadParameter("stdin is empty; give a prompt with -p or on stdin")
    return text


def _one(result: "RunResult") -> "RunResult":
    """Raises: typer.Exit where Ctrl-C cut the answer; what there is of it is on the screen."""
    if result.stop == "interrupted":
        print(file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    return result


def _tell(talk: "Conversation", *, template: bool) -> None:
    """Where the layers live and what else is to be known, on stderr."""
    print(f"{talk.speaker.engine}: {talk.speaker.placement}, context {talk.speaker.n_ctx:,}", file=sys.stderr)
    notes = list(talk.speaker.notes)
    if template and talk.speaker.template is None:
        notes.append("this model has no chat template; it goes on from the text as it is")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _chat(talk: "Conversation") -> None:
    """Until end of file or Ctrl-C at the prompt; Ctrl-C in an answer ends that answer."""
    print("Ctrl-C ends an answer, Ctrl-D the chat", file=sys.stderr)
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if text.strip():
            result = talk.say(text, _show_text)
            print(flush=True)
            _show_numbers(result)


def _show_text(text: str) -> None:
    # A terminal would obey control sequences, and what a model says may be anybody's; a pipe gets what was said.
    print(text.translate(_NOT_FOR_TERMINALS) if sys.stdout.isatty() else text, end="", flush=True)


def _show_numbers(result: "RunResult") -> None:
    parts = [
        _speed("prompt", result.prompt_tokens, result.prompt_tok_s),
        _speed("decode", result.output_tokens, result.decode_tok_s),
    ]
    if result.seconds_to_first_token is not None:
        parts.append(f"first token {show_seconds(result.seconds_to_first_token)}")
    parts.append(f"memory {show_bytes(result.memory_bytes)}")
    if result.stop == "context":
        parts.append(f"stopped: the context of {result.n_ctx:,} is full")
    print(" · ".join(parts), file=sys.stderr)


def _speed(label: str, tokens: int, per_second: float | None) -> str:
    return f"{label} {tokens:,} tokens" + ("" if per_second is None else f" {per_second:,.1f}/s")
