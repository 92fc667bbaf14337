"""Write safetensors row by row: the library's own `save_file` wants every tensor in memory at once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from struct import pack

from pennyweight.containers.safetensors_header import BITS, OUR_NAMES
from pennyweight.containers.tensor import TensorInfo
from pennyweight.containers.tensor_writer import FileLayout, TensorWriter
from pennyweight.core.errors import FormatError

_THEIR_NAMES = {ours: theirs for theirs, ours in OUR_NAMES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(BITS)}


class SafetensorsWriter(TensorWriter):
    """A safetensors file being written; see `TensorWriter` for how, and what a kill leaves behind."""

    def __init__(
        self,
        path: str | Path,
        tensors: Sequence[TensorInfo],
        *,
        metadata: Mapping[str, str] | None = None,
        sources: Iterable[Path] = (),
    ) -> None:
        """Lay out the file, in the safetensors library's own order (the widest numbers first), and create it.

        Args:
            tensors: formats of single numbers (F32, BF16, FP8_E4M3, I32 …).
            metadata: free text; `{"format": "pt"}` is what transformers wants to see.
            sources: files being read, which must not be overwritten.

        Raises:
            OutputError: see `TensorWriter`.
            FormatError: a tensor that safetensors cannot hold.
        """
        super().__init__([_layout(Path(path), tensors, metadata or {})], sources)


def _layout(path: Path, tensors: Sequence[TensorInfo], metadata: Mapping[str, str]) -> FileLayout:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    placed, end = [], 0
    for info in sorted(tensors, key=lambda info: (-_RANK[_dtype(info)], info.name)):
        if info.name in entries:
            raise FormatError(f"two tensors are named {info.name}")
        offsets = [end, end + info.nbytes]
        entries[info.name] = {"dtype": _dtype(info), "shape": list(info.shape), "data_offsets": offsets}
        placed.append((info, end))
        end += info.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the widest numbers are aligned
    header = pack("<Q", len(text)) + text
    tensors_at = tuple((info, len(header) + offset) for info, offset in placed)
    return FileLayout(path=path, header=header, tensors=tensors_at, nbytes=len(header) + end)


def _dtype(info: TensorInfo) -> str:
    dtype = _THEIR_NAMES.get(info.format.name, info.format.name)
    if dtype not in BITS:
        raise FormatError(f"{info.name} is {info.format.name}, which safetensors cannot hold")
    return dtype
