"""`pennyweight quantize MODEL TYPE -o OUT`, and by a recipe `quantize MODEL --recipe R --text F -o OUT`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.output import print_json, print_table
from pennyweight.cli.pick import picked_type
from pennyweight.cli.recipe import RecipeRequest, follow, require_alone
from pennyweight.core.errors import BadRequest
from pennyweight.core.units import parse_bytes, show_bytes, show_seconds

if TYPE_CHECKING:  # the job brings NumPy and the formats; `--help` needs neither
    from pennyweight.jobs.quantize import QuantizeResult

MODEL_HELP = "`embedded`, a .gguf, a Hugging Face directory, user/repo or hf.co/user/repo:TYPE."


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="File type, as llama-quantize names it: Q4_K_M, Q8_0 …")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The .gguf to write; of some recipes, the directory.")
    ] = None,
    imatrix: Annotated[Path | None, typer.Option(help="Importance matrix, .gguf or the older .dat.")] = None,
    tensor_type: Annotated[
        list[str] | None,
        typer.Option(metavar="REGEX=FORMAT", help="Format for tensors whose name matches; repeatable."),
    ] = None,
    tensor_type_file: Annotated[
        Path | None, typer.Option(help="File of REGEX=FORMAT, separated by whitespace.")
    ] = None,
    output_tensor_type: Annotated[str | None, typer.Option(metavar="FORMAT", help="For output.weight.")] = None,
    token_embedding_type: Annotated[str | None, typer.Option(metavar="FORMAT", help="For token_embd.weight.")] = None,
    leave_output_tensor: Annotated[
        bool, typer.Option("--leave-output-tensor", help="Keep output.weight as it is.")
    ] = False,
    pure: Annotated[bool, typer.Option("--pure", help="One format for every tensor, no mix.")] = False,
    allow_requantize: Annotated[
        bool,
        typer.Option("--allow-requantize", help="Accept a model that is quantized already (quality is lost twice)."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print each tensor's format and the size; write nothing.")
    ] = False,
    split_max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Split the output: 2G, 500M.")] = None,
    card: Annotated[
        str | None, typer.Option("--for", metavar="CARD", help="Instead of TYPE: the best that fits `RTX 3060 12GB`.")
    ] = None,
    ctx: Annotated[
        str | None, typer.Option("-c", "--ctx", metavar="TOKENS", help="Context that --for leaves room for.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(metavar="F", help="Instead of TYPE: what `plan … --json` chose; `-` reads stdin.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="R", help="Instead of TYPE: gptq:Q3_K_S, awq+gptq:INT4_G128, spqr:3 …")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="F",
            help="What a recipe calibrates on: a file; wikitext-2 or c4, their training part; `self`, what it writes.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Chunks of the calibration text.")] = 128,
    sample_length: Annotated[str, typer.Option(metavar="TOKENS", help="Tokens of one of them.")] = "512",
    seed: Annotated[int, typer.Option(min=0, help="Which chunks of the text, or what the model writes.")] = 0,
    device: Annotated[str, typer.Option(help="Where a recipe computes: auto, cpu, cuda.")] = "auto",
    layout: Annotated[
        str | None, typer.Option(help="Of a recipe's directory: gptq, awq, pack-quantized … Default: the usual one.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep a recipe's finished blocks here; default: beside OUT.")
    ] = None,
    spill: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep activations between blocks on this disk, not in memory.")
    ] = None,
    threads: Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Default: every core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Quantize MODEL to a GGUF of file type TYPE, byte for byte as llama-quantize writes it, or by a recipe.

    A recipe that was interrupted goes on behind its last finished block: give the same command again.
    """
    from pennyweight.jobs.quantize import QuantizeOptions
    from pennyweight.jobs.quantize import quantize as job
    from pennyweight.recipes.overrides import parse_overrides

    overrides = parse_overrides(
        tensor_types=tensor_type or (),
        tensor_type_file=tensor_type_file,
        output_tensor_type=output_tensor_type,
        token_embedding_type=token_embedding_type,
        leave_output_tensor=leave_output_tensor,
        pure=pure,
    )
    if recipe is not None:
        others = {"TYPE": type, "--imatrix": imatrix, "--split-max-size": split_max_size, "--for": card, "--plan": plan}
        require_alone(others, output, dry_run=dry_run)
        asked = RecipeRequest(
            recipe=recipe,
            text=text,
            samples=samples,
            sample_length=sample_length,
            seed=seed,
            device=device,
            layout=layout,
            work=work,
            spill=spill,
            threads=threads,
        )
        follow(model, asked, output, overrides, json=json)
        return
    if text is not None:
        raise BadRequest("--text is what a recipe calibrates on; TYPE alone takes --imatrix FILE")
    type = picked_type(model, type, card, ctx, plan)
    if type is None:
        raise BadRequest("no TYPE; name one such as Q4_K_M, a card with --for, a plan with --plan or a --recipe")
    options = QuantizeOptions(
        imatrix=imatrix,
        overrides=overrides,
        allow_requantize=allow_requantize,
        split_max_size=None if split_max_size is None else parse_bytes(split_max_size),
        threads=threads,
        other_inputs=(tensor_type_file,) if tensor_type_file else (),
    )
    result = job(model, type, output, options, dry_run=dry_run)
    if json:
        print_json(result)
    else:
        _show(result)


def _show(result: "QuantizeResult") -> None:
    if result.output is None:
        rows = [(name, format, result.reasons[name]) for name, format in result.tensors.items()]
        print_table("", ("tensor", "format", "why"), rows, left=("tensor", "format", "why"))
    formats = ", ".join(f"{count} {name}" for name, count in Counter(result.tensors.values()).most_common())
    rate = f", {result.weights / result.seconds / 1e6:.0f} M weights/s" if result.output else ""
    size = f"{show_bytes(result.bytes)} ({result.bytes:,} bytes)"
    print(f"{result.output or 'dry run: nothing written'}")
    print(f"  {result.type}: {size}, {result.bits_per_weight:.2f} bits per weight")
    print(f"  tensors: {formats}")
    for note in result.notes:
        print(f"  note: {note}")
    print(f"  {show_seconds(result.seconds)}{rate}")
