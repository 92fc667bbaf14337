"""A model as a GGUF that llama.cpp can load: the file itself, or a lossless one made for the length of a job."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.checkpoints.open import local_path, open_checkpoint
from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.recipes.file_types import UNQUANTIZED


@contextmanager
def runnable(model: str) -> Iterator[Path]:
    """The path of a GGUF of MODEL. A checkpoint in another layout is written to a temporary file, weights unrounded.

    Raises: as `pennyweight.jobs.quantize.quantize`.
    """
    path = local_path(model)
    if path.suffix == ".gguf":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pennyweight-") as directory:
        gguf = Path(directory) / f"{path.name}.gguf"
        # A calibrated checkpoint's weights are what its codes say, in float32: nothing is rounded a second time.
        options = QuantizeOptions(allow_requantize=True)
        quantize(model, lossless_type(open_checkpoint(model)), gguf, options)
        yield gguf


def model_files(model: str) -> tuple[Path, ...]:
    """The files that MODEL is read from, which no output may replace."""
    return open_checkpoint(model).files


def lossless_type(checkpoint: Checkpoint) -> str:
    """The unquantized file type that most of the checkpoint's matrices are stored in: F32, F16 or BF16.

    F32 for a calibrated one: scale times code need not be a number of 16 bits.
    """
    stored = Counter(t.format for t in checkpoint.tensors if len(t.shape) > 1)
    if any(format not in UNQUANTIZED for format in stored):
        return "F32"
    return stored.most_common(1)[0][0] if stored else "F32"
