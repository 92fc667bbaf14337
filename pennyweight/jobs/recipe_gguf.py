"""A recipe whose target is a file type: blocks by the recipe's method, everything else as llama-quantize does it."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from pennyweight import formats
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.parallel import default_threads
from pennyweight.core.progress import progress_bar
from pennyweight.models.shape import shape_from_metadata
from pennyweight.pipeline.blocks import quantize_blocks
from pennyweight.pipeline.calibration import Calibration
from pennyweight.pipeline.journal import BlockJournal
from pennyweight.pipeline.quantized import FinishedRun, with_block_codes
from pennyweight.pipeline.reports import LayerReport
from pennyweight.pipeline.rounding import Rounding, gguf_rounding
from pennyweight.pipeline.stream import TensorPlan, stream
from pennyweight.pipeline.walk import BlockSettings
from pennyweight.recipes.assign import assign
from pennyweight.recipes.file_types import UNQUANTIZED
from pennyweight.recipes.grammar import FEEDBACK, Recipe
from pennyweight.recipes.layout import output_metadata
from pennyweight.recipes.overrides import Overrides

WEIGHED = (*FEEDBACK, "imatrix")
"""Methods that know what an importance matrix knows: for them a file type's rules are those with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: `bytes` of files, stored `bits` and number of all weights; tensor → format or grid; reports."""

    bytes: int
    bits: int
    weights: int
    tensors: dict[str, str]
    layers: tuple[LayerReport, ...]


class GgufRun:
    """One recipe on one checkpoint; what is wrong with the request shows before anything is computed."""

    def __init__(
        self, checkpoint: Checkpoint, recipe: Recipe, overrides: Overrides, output: Path, threads: int | None
    ) -> None:
        """Assign formats. Raises: BadRequest, FormatError as `assign`."""
        assert recipe.file_type is not None
        self._checkpoint, self._recipe, self._output = checkpoint, recipe, output
        self._file_type, self._threads = recipe.file_type, threads or default_threads()
        shape = shape_from_metadata(checkpoint.metadata)
        self._blocks = shape.block_count
        self._assigned = assign(
            checkpoint.tensors, shape, recipe.file_type, overrides, has_imatrix=recipe.method in WEIGHED
        )
        self._formats = {assignment.name: assignment.format for assignment in self._assigned}

    def make(self, seen: Calibration | None, journal: BlockJournal, settings: BlockSettings) -> Written:
        """Quantize every block, then write the file."""
        run = None
        if seen is not None:
            quantize_blocks(self._checkpoint, self._rounding_of, self._recipe.transforms, seen, journal, settings)
            run = FinishedRun(journal, self._blocks)
        return self._write(run, seen)

    def _rounding_of(self, name: str) -> Rounding | None:
        format = self._formats.get(name)
        if format is None or format in UNQUANTIZED or not name.startswith("blk."):
            return None
        return gguf_rounding(self._recipe, formats.get(format), self._threads)

    def _write(self, run: FinishedRun | None, seen: Calibration | None) -> Written:
        tensors = with_block_codes(self._checkpoint, run) if run else self._checkpoint.tensors
        by_name = {tensor.name: tensor for tensor in tensors}
        plans = [TensorPlan(tensor=by_name[a.name], format=formats.get(a.format)) for a in self._assigned]
        infos = [TensorInfo(name=p.tensor.name, shape=p.tensor.shape, format=p.format) for p in plans]
        metadata = output_metadata(self._checkpoint.metadata, self._file_type) | self._provenance(seen)
        with (
            GGUFWriter(self._output, metadata, infos, sources=self._checkpoint.files) as writer,
            progress_bar("writing", sum(info.nbytes for info in infos)) as advance,
        ):
            stream(plans, writer.write_rows, threads=self._threads, advance=advance)
        return Written(
            bytes=writer.bytes_written,
            bits=8 * sum(info.nbytes for info in infos),
            weights=sum(prod(info.shape) for info in infos),
            tensors=dict(self._formats),
            layers=run.reports() if run else (),
        )

    def _provenance(self, seen: Calibration | None) -> dict[str, GGUFValue]:
        """What llama.cpp has no keys for, and ignores."""
        said = {"pennyweight.recipe": str(self._recipe)}
        if seen:
            said |= {"pennyweight.calibration.text": seen.source, "pennyweight.calibration.tokens_sha256": seen.digest}
        return {key: GGUFValue.scalar(ValueType.STRING, value) for key, value in said.items()}
