"""Which weights a checkpoint holds, in 64 hex digits, without reading gigabytes; and which file type it says it is."""

import hashlib

from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.recipes.file_types import ALL

_SAMPLED_BYTES = 4096


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 over every tensor's name, shape and format and about 4 KiB at its start, middle and end.

    Two checkpoints of other training, type or architecture differ; a change of a few weights in the midst of a tensor
    may stay unseen. Names are canonical, so a lossless copy in another container has the same fingerprint only where
    its tensors are stored in the same formats.
    """
    digest = hashlib.sha256()
    for tensor in sorted(checkpoint.tensors, key=lambda tensor: tensor.name):
        digest.update(f"{tensor.name} {tensor.shape} {tensor.format} {tensor.nbytes}\n".encode())
        _sample(digest, tensor)
    return digest.hexdigest()


def stored_type(checkpoint: Checkpoint) -> str:
    """The file type that `general.file_type` names; where it says nothing known, the formats it is stored in."""
    said = checkpoint.metadata.get("general.file_type")
    for file_type in ALL:
        if said is not None and said.value == file_type.llama_ftype:
            return file_type.name
    return "+".join(sorted({tensor.format for tensor in checkpoint.tensors if len(tensor.shape) > 1}))


def tensor_bytes(checkpoint: Checkpoint) -> tuple[int, float]:
    """Bytes of all tensors, and stored bits ÷ weights."""
    total = sum(tensor.nbytes for tensor in checkpoint.tensors)
    weights = sum(tensor.rows * tensor.columns for tensor in checkpoint.tensors)
    return total, 8 * total / weights if weights else 0.0


def _sample(digest: "hashlib._Hash", tensor: LazyTensor) -> None:
    if not tensor.rows:
        return
    count = max(1, _SAMPLED_BYTES * tensor.rows // max(tensor.nbytes, 1))
    for start in sorted({0, max(0, (tensor.rows - count) // 2), max(0, tensor.rows - count)}):
        digest.update(tensor.raw_rows(start, min(start + count, tensor.rows)).tobytes())
