"""llama.cpp's own file of base predictions (`llama-perplexity --kl-divergence-base`), read and written.

    "_logits_"  int32 n_ctx, n_vocab, n_chunk  int32 tokens[n_chunk][n_ctx]
    then for each scored position  float32 scale, float32 min_log_p  uint16 code[n_vocab, padded to even]

    log p = scale · code + min_log_p

The scale covers the 16 nats below the likeliest token; less likely ones get code 0. Divergence from such a base is
computed as llama-perplexity computes it (tokens with log p ≤ -16 left out, p not rescaled), so the figures are the
same. The rounding leaves a noise of its own: p is off by up to half a scale, 1.2e-4. The clamp is a second error: a
token more than 16 nats below the likeliest is stored as if it were 16 below, or is left out. Neither error is bounded
here, so `RowDivergence.bound` is NaN: not known.

Source: llama.cpp tools/perplexity/perplexity.cpp `log_softmax`, `kl_divergence`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.containers.atomic import AtomicFile
from pennyweight.core.errors import FormatError
from pennyweight.evaluation.base import RowDivergence, empty_rows
from pennyweight.evaluation.engine import LogitsEngine, targets, with_bos
from pennyweight.evaluation.softmax import RowSums, in_row_blocks, row_sums

MAGIC = b"_logits_"
HEADER = np.dtype([("magic", "S8"), ("n_ctx", "<i4"), ("n_vocab", "<i4"), ("n_chunk", "<i4")])
KEPT_NATS = np.float32(16)


def row_layout(n_vocab: int) -> np.dtype:
    """NumPy structured dtype of one scored position; an odd vocabulary has one code of padding."""
    return np.dtype([("scale", "<f4"), ("minimum", "<f4"), ("codes", "<u2", (n_vocab + n_vocab % 2,))])


class LogitsFile:
    """A base recorded by llama-perplexity, memory-mapped: `evaluation.base.BaseLogits`."""

    vocabulary_hash = None
    noise_floor = None

    def __init__(self, path: Path) -> None:
        """Open it. Raises: FormatError where it is not such a file, or cut, or its tokens are out of range."""
        header = _read_header(path)
        self.n_vocab, n_ctx, count = int(header["n_vocab"]), int(header["n_ctx"]), int(header["n_chunk"])
        layout, scored = row_layout(self.n_vocab), n_ctx - 1 - n_ctx // 2
        rows_at = HEADER.itemsize + 4 * count * n_ctx
        expected, found = rows_at + layout.itemsize * count * scored, path.stat().st_size
        if found != expected:
            raise FormatError(f"{path}: {found} bytes where its header says {expected}; record the base again")
        self.chunks = np.fromfile(path, "<i4", count * n_ctx, offset=HEADER.itemsize).reshape(count, n_ctx)
        if self.chunks.min() < 0 or self.chunks.max() >= self.n_vocab:
            raise FormatError(f"{path}: token {self.chunks.max()} outside its vocabulary of {self.n_vocab}")
        self.rows = np.memmap(path, layout, "r", rows_at, (count, scored))

    def against(
        self, start: int, logits: NDArray[np.float32], sums: RowSums, threads: int | None = None
    ) -> RowDivergence:
        """KL divergence by llama-perplexity's formula; see `BaseLogits.against`."""
        flat = logits.reshape(-1, self.n_vocab)
        rows = self.rows[start : start + len(logits)].reshape(-1)
        wanted = targets(self.chunks)[start : start + len(logits)].ravel()
        log_sum_exp = sums.log_sum_exp.astype(np.float32)
        out = empty_rows(len(flat))
        out.bound[:] = np.nan

        def work(part: slice) -> None:
            scale, minimum = rows["scale"][part, None], rows["minimum"][part, None]
            codes = rows["codes"][part, : self.n_vocab]
            log_p = scale * codes.astype(np.float32) + minimum
            terms = np.exp(log_p) * (log_p - flat[part] + log_sum_exp[part, None])
            terms[log_p <= -KEPT_NATS] = 0
            out.kld[part] = terms.sum(axis=1, dtype=np.float64)
            out.base_nll[part] = -log_p[np.arange(len(log_p)), wanted[part]]
            out.base_top[part] = codes.argmax(axis=1)

        in_row_blocks(work, *flat.shape, threads)
        return out


def write_logits_file(
    path: Path,
    engine: LogitsEngine,
    chunks: NDArray[np.int32],
    *,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> None:
    """Run the base over int32 (chunks, n_ctx) and write what llama-perplexity can read, whole or not at all.

    Raises: OutputError; BadWeights where the base's logits are not finite.
    """
    scored = targets(chunks).shape[1]
    layout = row_layout(engine.n_vocab)
    rows_at = HEADER.itemsize + 4 * chunks.size
    header = np.array((MAGIC, chunks.shape[1], engine.n_vocab, len(chunks)), HEADER)
    file = AtomicFile(path, rows_at + layout.itemsize * scored * len(chunks))
    try:
        file.write_at(0, header.tobytes() + chunks.astype("<i4").tobytes())
        done = 0
        for logits in engine.scored_logits(with_bos(chunks, engine.bos)):
            rows = encode_rows(logits.reshape(-1, engine.n_vocab), threads)
            file.write_at(rows_at + layout.itemsize * scored * done, rows.tobytes())
            done += len(logits)
            advance(len(logits))
        file.sync()
        file.publish()
    except BaseException:
        file.discard()
        raise


def encode_rows(logits: NDArray[np.float32], threads: int | None = None) -> NDArray[np.void]:
    """float32 (rows, n_vocab) → (rows,) of `row_layout`; float32 throughout, as llama-perplexity computes it."""
    count, n_vocab = logits.shape
    rows = np.zeros(count, row_layout(n_vocab))
    sums = row_sums(logits, threads)

    def work(part: slice) -> None:
        top = sums.maximum[part]
        lowest = np.maximum(logits[part].min(axis=1), top - KEPT_NATS)
        scale = (top - lowest) / np.float32(65535)
        rows["scale"][part] = scale
        rows["minimum"][part] = lowest - top - np.log(sums.total[part]).astype(np.float32)
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
        rows["codes"][part, :n_vocab] = np.rint(np.maximum(logits[part] - lowest[:, None], 0) * inverse[:, None])

    in_row_blocks(work, count, n_vocab, threads)
    return rows


def _read_header(path: Path) -> NDArray[np.void]:
    """The header, every number of it bounded before anything is sized by it. Raises: FormatError."""
    with path.open("rb") as file:
        raw = file.read(HEADER.itemsize)
    if len(raw) < HEADER.itemsize or not raw.startswith(MAGIC):
        raise FormatError(f"{path}: not a file of llama-perplexity's --kl-divergence-base")
    header = np.frombuffer(raw, HEADER)[0]
    if not (header["n_ctx"] >= 4 and 1 <= header["n_vocab"] <= 1 << 24 and header["n_chunk"] >= 1):
        raise FormatError(f"{path}: its header is damaged: {header.tolist()}")
    return header
