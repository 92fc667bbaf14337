"""The base's predictions in a file, a tenth of llama.cpp's in size: written once, compared with as often as wanted.

File: HEADER, int32 chunks (before BOS is put in), then the rows of `evaluation.compact_rows`; little-endian, packed.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.atomic import AtomicFile
from pennyweight.core.errors import FormatError
from pennyweight.evaluation.base import RowDivergence
from pennyweight.evaluation.compact_rows import Sizes, compact_rows, default_sizes, divergence_from_rows, row_layout
from pennyweight.evaluation.engine import LogitsEngine, targets, with_bos
from pennyweight.evaluation.softmax import RowSums, row_sums

MAGIC = b"pw-base1"

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("n_ctx", "<u4"),
        ("n_vocab", "<u4"),
        ("chunks", "<u4"),
        ("top_k", "<u4"),
        ("samples", "<u4"),
        ("noise_floor", "<f8"),
        ("vocabulary_hash", "S64"),
        ("engine", "S64"),
    ]
)


def write_base(
    path: Path,
    engine: LogitsEngine,
    chunks: NDArray[np.int32],
    *,
    arithmetic_noise: float = 0.0,
    sizes: Sizes | None = None,
    seed: int = 0,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> None:
    """Run the base over int32 (chunks, n_ctx) and keep its predictions in `path`, whole or not at all.

    Args:
        arithmetic_noise: `divergence.arithmetic_noise` of the base, if measured; storage's own noise is added to it.

    Raises: OutputError; BadWeights where the base's logits are not finite.
    """
    sizes = sizes or default_sizes(engine.n_vocab)
    layout, rng = row_layout(engine.n_vocab, sizes), np.random.default_rng(seed)
    scored = targets(chunks)
    rows_at = HEADER.itemsize + 4 * chunks.size
    file = AtomicFile(path, rows_at + layout.itemsize * scored.size)
    try:
        file.write_at(HEADER.itemsize, chunks.astype("<i4").tobytes())
        done, noise = 0, 0.0
        for logits in engine.scored_logits(with_bos(chunks, engine.bos)):
            flat, wanted = logits.reshape(-1, engine.n_vocab), scored[done : done + len(logits)].ravel()
            sums = row_sums(flat, threads)
            rows = compact_rows(flat, wanted, sums, sizes, rng, threads)
            noise += float(divergence_from_rows(rows, flat, sums).kld.sum())
            file.write_at(rows_at + layout.itemsize * scored.shape[1] * done, rows.tobytes())
            done += len(logits)
            advance(len(logits))
        file.write_at(0, _header(engine, chunks, sizes, arithmetic_noise + noise / scored.size).tobytes())
        file.sync()
        file.publish()
    except BaseException:
        file.discard()
        raise


class CompactBase:
    """A file of `write_base`, memory-mapped: `evaluation.base.BaseLogits`."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises: FormatError where it is not such a file, or cut, or its tokens are out of range."""
        header = _read_header(path)
        self.n_vocab, self.noise_floor = int(header["n_vocab"]), float(header["noise_floor"])
        self.vocabulary_hash = bytes(header["vocabulary_hash"]).decode("ascii", "replace")
        self.engine = bytes(header["engine"]).decode("utf-8", "replace")
        sizes = Sizes(top_k=int(header["top_k"]), samples=int(header["samples"]))
        count, n_ctx = int(header["chunks"]), int(header["n_ctx"])
        layout, scored = row_layout(self.n_vocab, sizes), n_ctx - 1 - n_ctx // 2
        rows_at = HEADER.itemsize + 4 * count * n_ctx
        expected, found = rows_at + layout.itemsize * count * scored, path.stat().st_size
        if found != expected:
            raise FormatError(f"{path}: {found} bytes where its header says {expected}; record the base again")
        self.chunks = np.fromfile(path, "<i4", count * n_ctx, offset=HEADER.itemsize).reshape(count, n_ctx)
        if self.chunks.min() < 0 or self.chunks.max() >= self.n_vocab:
            raise FormatError(f"{path}: token {self.chunks.max()} outside its vocabulary of {self.n_vocab}")
        self._rows = np.memmap(path, layout, "r", rows_at, (count, scored))
        self._path = path

    def against(
        self, start: int, logits: NDArray[np.float32], sums: RowSums, threads: int | None = None
    ) -> RowDivergence:
        """KL divergence to the stated error; see `BaseLogits.against`."""
        rows = np.array(self._rows[start : start + len(logits)]).ravel()
        if max(rows["ids"].max(), rows["drawn"].max()) >= self.n_vocab:
            raise FormatError(f"{self._path}: a stored token is outside its vocabulary of {self.n_vocab}")
        return divergence_from_rows(rows, logits.reshape(-1, self.n_vocab), sums)


def _header(engine: LogitsEngine, chunks: NDArray[np.int32], sizes: Sizes, noise_floor: float) -> NDArray[np.void]:
    header = np.zeros((), HEADER)
    header["magic"] = MAGIC
    header["n_ctx"], header["chunks"] = chunks.shape[1], len(chunks)
    header["n_vocab"], header["top_k"], header["samples"] = engine.n_vocab, sizes.top_k, sizes.samples
    header["noise_floor"] = noise_floor
    header["vocabulary_hash"] = engine.vocabulary_hash.encode()
    header["engine"] = engine.name.encode()[:64]
    return header


def _read_header(path: Path) -> NDArray[np.void]:
    """The header, every number of it bounded before anything is sized by it. Raises: FormatError."""
    with path.open("rb") as file:
        raw = file.read(HEADER.itemsize)
    if len(raw) < HEADER.itemsize or not raw.startswith(MAGIC):
        raise FormatError(f"{path}: not a file of base logits written by this version; record the base again")
    header = np.frombuffer(raw, HEADER)[0]
    fits = header["n_ctx"] >= 4 and header["chunks"] >= 1 and 1 <= header["samples"] <= 1 << 16
    if not fits or not 1 <= header["top_k"] <= header["n_vocab"] <= 1 << 24:
        raise FormatError(f"{path}: its header is damaged: {header.tolist()}")
    return header
