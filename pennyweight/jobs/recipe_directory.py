"""A recipe whose target is a checkpoint directory: the blocks' linear layers as codes, everything else as it was."""

from dataclasses import replace
from pathlib import Path

from pennyweight.checkpoints import layouts
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.calibrated_writer import CalibratedWriter, WriterOptions, open_writer
from pennyweight.checkpoints.layout import Layout
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest
from pennyweight.jobs.recipe_gguf import Written
from pennyweight.methods.fp8 import with_one_input_scale
from pennyweight.models.config import ModelConfig
from pennyweight.models.linears import block_linears
from pennyweight.pipeline.blocks import quantize_blocks, round_blocks
from pennyweight.pipeline.calibration import Calibration
from pennyweight.pipeline.journal import BlockJournal
from pennyweight.pipeline.quantized import FinishedRun
from pennyweight.pipeline.rounding import Rounding, directory_rounding
from pennyweight.pipeline.walk import BlockSettings
from pennyweight.recipes.grammar import FEEDBACK, Recipe


class DirectoryRun:
    """One recipe on one checkpoint; what is wrong with the request shows before anything is computed."""

    def __init__(
        self, checkpoint: Checkpoint, config: ModelConfig, recipe: Recipe, output: Path, layout: str | None
    ) -> None:
        """Choose the layout. Raises: BadRequest for a matrix that it, or the grid, cannot hold."""
        self._checkpoint, self._config, self._recipe, self._output = checkpoint, config, recipe, output
        self.layout = layouts.get(layout) if layout else layout_of(recipe)
        self._rounding = directory_rounding(recipe)
        table = block_linears(config.family.model_type)
        self._layers = {name for group in table.groups for name in group}

    def make(self, seen: Calibration | None, journal: BlockJournal, settings: BlockSettings) -> Written:
        """Quantize every block, then write the directory."""
        settings = replace(settings, stored_order=seen is not None)
        if seen is None:
            round_blocks(self._checkpoint, self._config.block_count, self._rounding_of, journal, settings)
        else:
            quantize_blocks(self._checkpoint, self._rounding_of, self._recipe.transforms, seen, journal, settings)
        run = FinishedRun(journal, self._config.block_count)
        options = WriterOptions(recipe=str(self._recipe))
        with open_writer(self.layout, self._output, self._checkpoint, options) as writer:
            self._write(writer, run, stored_order=settings.stored_order)
        return self._written(run)

    def _rounding_of(self, name: str) -> Rounding | None:
        return self._rounding if name.startswith("blk.") and name.split(".", 2)[2] in self._layers else None

    def _write(self, writer: CalibratedWriter, run: FinishedRun, *, stored_order: bool) -> None:
        shapes = {tensor.name: tensor.shape for tensor in self._checkpoint.tensors}
        for name in run.codes:
            matrices = run.matrices(name)
            if self._recipe.static_inputs:
                matrices = with_one_input_scale(name, matrices)
            for expert, codes in enumerate(matrices):
                writer.write(name, codes, expert if len(shapes[name]) == 3 else None, stored_order=stored_order)
        for name in run.floats:
            writer.write_array(name, run.values(name).reshape(shapes[name]))

    def _written(self, run: FinishedRun) -> Written:
        made = open_checkpoint(str(self._output))
        return Written(
            bytes=sum(path.stat().st_size for path in self._output.iterdir()),
            bits=8 * sum(tensor.nbytes for tensor in made.tensors),
            weights=sum(tensor.rows * tensor.columns for tensor in made.tensors),
            tensors={tensor.name: tensor.format for tensor in made.tensors},
            layers=run.reports(),
        )


def layout_of(recipe: Recipe) -> Layout:
    """The layout that most runtimes load for these codes."""
    integer = recipe.integer
    if recipe.budget is not None:
        return layouts.get("spqr-dense")
    if integer is None:
        return layouts.get({"fp8": "float-quantized", "spqr": "spqr", "llm_int8": "bitsandbytes"}[recipe.method])
    if integer.activation_bits is not None:
        if integer.bits != 8 or integer.group_size is not None:
            raise BadRequest(
                f"{recipe}: with rounded activations, compressed-tensors' kernels want 8-bit weights with one scale a "
                "row; take W8A8"
            )
        return layouts.get("int-quantized")
    if recipe.method in FEEDBACK and not recipe.transforms:
        return layouts.get("gptq" if integer.symmetric else "gptq_v2")
    return layouts.get("awq" if "awq" in recipe.transforms and integer.bits == 4 else "pack-quantized")
