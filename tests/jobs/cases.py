"""Generated models whose quantized files are compared whole with llama-quantize's, and run by llama.cpp."""

from pathlib import Path

import numpy as np

from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.checkpoints.imatrix import Imatrix, ImatrixEntry, write_imatrix
from tests.tiny_gguf import write_tiny_gguf

MODELS: dict[str, dict[str, object]] = {
    "qwen3": {"architecture": "qwen3", "layers": 8, "vocabulary": 768},
    "llama 32 layers, GQA 4": {
        "architecture": "llama",
        "layers": 32,
        "heads": 8,
        "kv_heads": 2,
        "head_dim": 32,
        "feed_forward": 256,
        "format": "BF16",
    },
    "mixtral, 8 experts": {"architecture": "llama", "layers": 4, "experts": 8, "feed_forward": 256, "format": "F32"},
}
"""Name → what `write_tiny_gguf` takes. One of each source format; layer counts at which the position rules differ."""


def write_model(name: str, directory: Path) -> Path:
    """The model of that name as a GGUF; equal bytes each time."""
    return write_tiny_gguf(directory / "model.gguf", **MODELS[name])


def write_matching_imatrix(model: Path, path: Path) -> Path:
    """An importance matrix with log-normal values for every block tensor; half of the experts saw nothing."""
    rng = np.random.default_rng(17)
    entries = {}
    for tensor in open_gguf_checkpoint(model).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            matrices = tensor.shape[0] if len(tensor.shape) == 3 else 1
            counts = np.full(matrices, 640, np.float32)
            counts[matrices // 2 :] = 0 if matrices > 1 else 640
            values = np.exp(rng.standard_normal((matrices, tensor.columns)) * 2).astype(np.float32)
            entries[tensor.name] = ImatrixEntry(sums=values, counts=counts)
    imatrix = Imatrix(entries=entries, datasets=("text.txt",), chunk_count=5, chunk_size=512, source=str(path))
    write_imatrix(imatrix, path)
    return path
