"""imatrix: a calibration text in, an importance matrix out, in llama.cpp's format."""

import time
from dataclasses import dataclass
from pathlib import Path

from pennyweight.checkpoints.imatrix import Imatrix, write_imatrix
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.atomic import check_output
from pennyweight.core.progress import progress_bar
from pennyweight.evaluation.engine import cut, read_text
from pennyweight.evaluation.importance import collect_imatrix
from pennyweight.jobs.notes import run_notes
from pennyweight.jobs.runnable import model_files, runnable
from pennyweight.runtimes.llama_cpp import Model

FEW_TOKENS = 64
"""An expert's column means over fewer tokens than this are noise; such experts are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImatrixOptions:
    """How to collect: chunks of `ctx` tokens, at most `chunks` of them; the rest as in llama-imatrix."""

    ctx: int = 512
    chunks: int | None = None
    process_output: bool = False
    gpu_layers: int = 0
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImatrixResult:
    """What was collected: `entries` weight tensors over `chunks` chunks of `ctx` tokens; `notes` for a person."""

    output: str
    entries: int
    chunks: int
    ctx: int
    seconds: float
    notes: tuple[str, ...]


def imatrix(
    model: str, text: str | Path, output: str | Path, options: ImatrixOptions = ImatrixOptions()
) -> ImatrixResult:
    """Run the file `text` through MODEL and write the importance matrix to `output` (.gguf, or .dat).

    Raises: BadRequest (text too short or unreadable), OutputError, and what opening MODEL raises.
    """
    started = time.perf_counter()
    data = read_text(Path(text))
    check_output(Path(output), [Path(text), *model_files(model)])
    with runnable(model) as gguf, Model.load(gguf, n_gpu_layers=options.gpu_layers) as loaded:
        chunks = cut(loaded.tokenize(data, add_special=True), options.ctx, options.chunks)
        with progress_bar("imatrix", len(chunks), "chunks") as advance:
            collected = collect_imatrix(
                loaded,
                chunks,
                str(text),
                process_output=options.process_output,
                threads=options.threads,
                advance=advance,
            )
    write_imatrix(collected, Path(output))
    return ImatrixResult(
        output=str(output),
        entries=len(collected.entries),
        chunks=collected.chunk_count,
        ctx=options.ctx,
        seconds=time.perf_counter() - started,
        notes=(*_notes(collected), *run_notes(open_checkpoint(model), options.ctx)),
    )


def _notes(imatrix: Imatrix):
    starved = [name for name, entry in imatrix.entries.items() if (entry.counts < FEW_TOKENS).any()]
    if starved:
        yield (
            f"{len(starved)} tensors have experts that saw fewer than {FEW_TOKENS} tokens ({starved[0]} …); "
            "more text, or an expert that saw none is weighted evenly"
        )
