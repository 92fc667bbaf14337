"""Quantize decoder block by decoder block: each block sees what the blocks before it already cost.

    for each block, unless the journal has it:
        transforms     statistics of all layers → scales, folded into norms and weights
        each group     statistics of its input → codes of its matrices → the block computes with what they decode to
        journal        codes on the disk
        propagate      every chunk through the quantized block

In memory are one block, its statistics and one batch of activations; what is carried between blocks may be on a disk.
Where a method asks for drift, the same chunks are carried through the unquantized model beside: twice of all that.
A run that was killed reads finished blocks from the journal, carries the chunks through them, and goes on: the same
numbers go the same way, so the result has the same bytes.

Source: GPTQ (arXiv 2210.17323) and its `llama.py` for the walk. Activations are not rounded during it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.core.parallel import default_threads
from pennyweight.core.progress import progress_bar
from pennyweight.models.shape import shape_from_metadata
from pennyweight.pipeline.block_weights import BlockWeights
from pennyweight.pipeline.calibration import Calibration
from pennyweight.pipeline.capture import BlockRunner, Capture
from pennyweight.pipeline.hidden import Hidden
from pennyweight.pipeline.journal import BlockJournal, BlockResult
from pennyweight.pipeline.reports import LayerReport
from pennyweight.pipeline.walk import BlockSettings, RoundingOf, Walk
from pennyweight.runtimes.torch_reference.decoder import Decoder
from pennyweight.runtimes.torch_reference.hooks import Hooks

_TOKENS_ABREAST = 2048


def quantize_blocks(
    checkpoint: Checkpoint,
    rounding_of: RoundingOf,
    transforms: tuple[str, ...],
    calibration: Calibration,
    journal: BlockJournal,
    settings: BlockSettings,
) -> None:
    """Quantize every block that the journal lacks; the results are in the journal.

    Raises:
        UnsupportedModel: no table of the model's linear layers, or transformers cannot take it.
        BadWeights: NaN among weights or activations; names the layer. DoesNotFit: a GPU too small for one chunk.
    """
    blocks = shape_from_metadata(checkpoint.metadata).block_count
    if all(journal.has(block) for block in range(blocks)):
        return  # what came behind the walk failed: a full disk, say
    left = tuple(f"blk.{block}." for block in range(blocks) if not journal.has(block))
    roundings = (rounding_of(tensor.name) for tensor in checkpoint.tensors if tensor.name.startswith(left))
    with ExitStack() as stack:
        needs_drift = any(rounding.needs_drift for rounding in roundings if rounding)
        quantized = stack.enter_context(_carried(checkpoint, calibration, settings))
        unquantized = stack.enter_context(_carried(checkpoint, calibration, settings)) if needs_drift else None
        walk = Walk(checkpoint, quantized, unquantized, rounding_of, transforms, settings)
        with progress_bar(f"{blocks} blocks", blocks * quantized.chunks, "chunks") as advance:
            for block in range(blocks):
                walk.block(block, journal, advance)


@contextmanager
def _carried(checkpoint: Checkpoint, calibration: Calibration, settings: BlockSettings) -> Iterator[BlockRunner]:
    """Every calibration chunk, embedded, with a model to carry it through."""
    import torch

    capture = Capture()
    decoder = Decoder(
        checkpoint,
        device=settings.device,
        dtype=torch.float32,
        hooks=Hooks(linear_input=capture),
        threads=settings.threads,
    )
    count, length = calibration.tokens.shape
    abreast = settings.abreast or max(1, _TOKENS_ABREAST // length)
    with Hidden(count, (length, decoder.config.embedding_length), settings.spill) as hidden:
        runner = BlockRunner(decoder, capture, hidden, settings.device, abreast)
        with decoder.loaded(decoder.stages[0]):
            runner.embed(torch.from_numpy(calibration.tokens.astype(np.int64)))
        try:
            yield runner
        finally:
            decoder.unload()


def round_blocks(
    checkpoint: Checkpoint, blocks: int, rounding_of: RoundingOf, journal: BlockJournal, settings: BlockSettings
) -> None:
    """Round the matrices of every block that the journal lacks, by methods that look at no activations.

    Raises: BadWeights for NaN among the weights; names the tensor.
    """
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    threads = settings.threads or default_threads()
    with progress_bar(f"{blocks} blocks", blocks, "blocks") as advance:
        for block in range(blocks):
            if not journal.has(block):
                journal.add(block, _rounded(BlockWeights(tensors, block, settings.device, threads), rounding_of))
            advance(1)


def _rounded(weights: BlockWeights, rounding_of: RoundingOf) -> BlockResult:
    codes: dict[str, tuple[Any, ...]] = {}
    reports: list[LayerReport] = []
    for name in weights.names():
        full, rounding = weights.prefix + name, rounding_of(weights.prefix + name)
        if rounding:
            matrices = weights.get(name)
            codes[full] = tuple(rounding.round(weight, None).codes for weight in matrices)
            experts = range(len(matrices)) if len(matrices) > 1 else (None,)
            reports += [LayerReport(name=full, expert=e, method=rounding.method, tokens=0) for e in experts]
    return BlockResult(codes=codes, floats={}, reports=tuple(reports))
