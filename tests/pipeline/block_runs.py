"""Small calibrated runs for tests: tiny models, seeded tokens, one call."""

from pathlib import Path

import numpy as np

from pennyweight import formats
from pennyweight.checkpoints.base import Checkpoint
from pennyweight.pipeline.blocks import quantize_blocks
from pennyweight.pipeline.calibration import Calibration, CalibrationOptions, from_text
from pennyweight.pipeline.journal import BlockJournal, BlockResult
from pennyweight.pipeline.rounding import Rounding, gguf_rounding
from pennyweight.pipeline.walk import BlockSettings, RoundingOf
from pennyweight.recipes.grammar import parse_recipe


def tokens(vocabulary: int, samples: int = 6, length: int = 32, seed: int = 0) -> Calibration:
    """Seeded random tokens as a calibration."""
    options = CalibrationOptions(samples=samples, length=length, seed=seed)
    drawn = np.random.default_rng(seed).integers(0, vocabulary, samples * length, np.int32)
    return from_text(drawn, 0, "random", options)


def as_format(recipe: str, format: str) -> RoundingOf:
    """Every linear layer of the blocks in one format, by a recipe on a file type."""
    rounding = gguf_rounding(parse_recipe(recipe), formats.get(format))

    def of(name: str) -> Rounding | None:
        is_layer = name.startswith("blk.") and "norm" not in name and "gate_inp" not in name
        return rounding if is_layer and name.endswith(".weight") else None

    return of


def run(
    checkpoint: Checkpoint,
    work: Path,
    rounding_of: RoundingOf,
    calibration: Calibration,
    transforms: tuple[str, ...] = (),
    **settings: object,
) -> list[BlockResult]:
    """Every block's result."""
    import torch

    chosen = BlockSettings(device=torch.device("cpu"), **settings)  # type: ignore[arg-type]
    with BlockJournal(work, {"calibration": calibration.digest, "transforms": list(transforms)}) as journal:
        quantize_blocks(checkpoint, rounding_of, transforms, calibration, journal, chosen)
        blocks = 1 + max(int(t.name.split(".")[1]) for t in checkpoint.tensors if t.name.startswith("blk."))
        return [journal.read(block) for block in range(blocks)]


def block_bytes(work: Path) -> dict[str, bytes]:
    """The journal's files."""
    return {path.name: path.read_bytes() for path in sorted(work.glob("block-*"))}
