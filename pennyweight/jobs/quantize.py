"""quantize: a checkpoint in, a GGUF of one file type out, as llama-quantize would write it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pennyweight import formats
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.checkpoints.imatrix import Imatrix, read_imatrix
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import BadRequest
from pennyweight.core.parallel import default_threads
from pennyweight.core.progress import progress_bar
from pennyweight.models.shape import shape_from_metadata
from pennyweight.pipeline.stream import TensorPlan, stream
from pennyweight.recipes.assign import Assignment, assign, require_imatrix
from pennyweight.recipes.file_types import UNQUANTIZED, get_file_type
from pennyweight.recipes.layout import ImatrixProvenance, output_metadata
from pennyweight.recipes.overrides import Overrides

NOTHING_ASKED = Overrides()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOptions:
    """How to quantize, beyond MODEL and TYPE.

    Attributes:
        imatrix: importance matrix, either of llama.cpp's formats.
        overrides: formats asked for by tensor.
        allow_requantize: accept a model that is already quantized.
        split_max_size: bytes after which the next file of a split begins; None for one file.
        threads: None for every core of this process.
        other_inputs: files that were read to make these options, which the output must not replace.
    """

    imatrix: Path | None = None
    overrides: Overrides = NOTHING_ASKED
    allow_requantize: bool = False
    split_max_size: int | None = None
    threads: int | None = None
    other_inputs: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """What was (or, in a dry run, would be) written.

    Attributes:
        output: path written, of a split its first part; None in a dry run.
        type: the file type's name.
        bytes: size of the file, header included (of all files of a split).
        bits_per_weight: stored bits of all tensors ÷ weights, as llama-quantize prints it.
        seconds: wall time, start to rename.
        weights: how many weights the model has.
        tensors: name → format, in file order.
        reasons: name → why it has that format.
        notes: what a person should know: tensors without importance, formats that fell back.
    """

    output: str | None
    type: str
    bytes: int
    bits_per_weight: float
    seconds: float
    weights: int
    tensors: dict[str, str]
    reasons: dict[str, str]
    notes: tuple[str, ...]


def quantize(
    model: str,
    type: str,
    output: str | Path | None,
    options: QuantizeOptions = QuantizeOptions(),
    *,
    dry_run: bool = False,
) -> QuantizeResult:
    """Quantize MODEL to the file type TYPE and write it to `output` (replaced whole, or not at all).

    Args:
        model: `embedded`, a .gguf, a Hugging Face directory, `user/repo` or `hf.co/user/repo:TYPE`.
        type: a file type (`Q4_K_M`), case-blind.
        output: the .gguf to write; not used in a dry run.

    Raises:
        UnknownName, BadRequest, FormatError, UnsupportedModel, BadWeights, OutputError.
    """
    started = time.perf_counter()
    file_type = get_file_type(type)
    checkpoint = open_checkpoint(model)
    if not checkpoint.tensors:
        raise BadRequest(f"{checkpoint.source} holds no tensors; there is nothing to quantize")
    if options.split_max_size is not None and options.split_max_size < 1:
        raise BadRequest(f"--split-max-size is {options.split_max_size} bytes; write 2G or 500M")
    imatrix = read_imatrix(options.imatrix) if options.imatrix else None
    if imatrix:
        imatrix.require_model(tensor.name for tensor in checkpoint.tensors)
    shape = shape_from_metadata(checkpoint.metadata)
    assignments = assign(
        checkpoint.tensors, shape, file_type, options.overrides, has_imatrix=bool(imatrix and imatrix.entries)
    )
    plans = _plans(checkpoint, assignments, imatrix)
    _require_unquantized(plans, checkpoint, options.allow_requantize)
    infos = [TensorInfo(name=p.tensor.name, shape=p.tensor.shape, format=p.format) for p in plans]
    metadata = output_metadata(checkpoint.metadata, file_type, _provenance(imatrix, options))
    if dry_run:
        file_bytes = GGUFWriter.size_of(metadata, infos, split_max_size=options.split_max_size)
    elif output is None:
        raise BadRequest("no output path; say where with -o OUT.gguf, or --dry-run to see the plan")
    else:
        require_imatrix(assignments, imatrix.entries if imatrix else ())
        inputs = [*checkpoint.files, *options.other_inputs, *([options.imatrix] if options.imatrix else [])]
        with (
            GGUFWriter(output, metadata, infos, split_max_size=options.split_max_size, sources=inputs) as writer,
            progress_bar(file_type.name, sum(info.nbytes for info in infos)) as advance,
        ):
            stream(plans, writer.write_rows, threads=options.threads or default_threads(), advance=advance)
        file_bytes, output = writer.bytes_written, writer.paths[0]
    weights = sum(p.tensor.rows * p.tensor.columns for p in plans)
    return QuantizeResult(
        output=None if dry_run else str(output),
        type=file_type.name,
        bytes=file_bytes,
        bits_per_weight=8 * sum(info.nbytes for info in infos) / weights,
        seconds=time.perf_counter() - started,
        weights=weights,
        tensors={a.name: a.format for a in assignments},
        reasons={a.name: a.reason for a in assignments},
        notes=tuple(_notes(plans, assignments, imatrix)),
    )


def _plans(checkpoint: Checkpoint, assignments: Sequence[Assignment], imatrix: Imatrix | None) -> list[TensorPlan]:
    """Tensors in the order of the output, each with its format and, where it is quantized, its importance."""
    by_name = {tensor.name: tensor for tensor in checkpoint.tensors}
    plans = []
    for assignment in assignments:
        tensor, format = by_name[assignment.name], formats.get(assignment.format)
        importance = imatrix.importance(tensor) if imatrix and format.name != tensor.format else None
        plans.append(TensorPlan(tensor=tensor, format=format, importance=importance))
    return plans


def _require_unquantized(plans: Sequence[TensorPlan], checkpoint: Checkpoint, allowed: bool) -> None:
    quantized = [p.tensor for p in plans if not p.is_copy and p.tensor.format not in UNQUANTIZED]
    if quantized and not allowed:
        tensor = quantized[0]
        raise BadRequest(
            f"{checkpoint.source} is quantized already ({tensor.name} is {tensor.format}); rounding twice costs "
            "quality: start from the F16 or BF16 model, or say --allow-requantize"
        )


def _provenance(imatrix: Imatrix | None, options: QuantizeOptions) -> ImatrixProvenance | None:
    if not imatrix or not imatrix.entries:  # llama-quantize takes an empty matrix for none
        return None
    return ImatrixProvenance(
        file=str(options.imatrix),
        dataset=imatrix.datasets[0] if imatrix.datasets else None,
        entries=len(imatrix.entries),
        chunks=imatrix.chunk_count,
    )


def _notes(plans: Sequence[TensorPlan], assignments: Sequence[Assignment], imatrix: Imatrix | None):
    fell_back = [a for a in assignments if a.fell_back]
    if fell_back:
        yield f"{len(fell_back)} tensors fell back, their rows being no whole blocks: {_some(fell_back)}"
    # Embedding and output have none by default; that of a block is worth knowing of.
    blocks = [p for p in plans if p.tensor.name.startswith("blk.") and not p.is_copy]
    missing = [p.tensor for p in blocks if imatrix and p.importance is None]
    if missing:
        yield f"{len(missing)} tensors have no importance in {imatrix.source if imatrix else ''}: {_some(missing)}"


def _some(named: Sequence[LazyTensor | Assignment]) -> str:
    return ", ".join(item.name for item in named[:3]) + (" …" if len(named) > 3 else "")
