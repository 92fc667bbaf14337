"""An importance matrix from text: the model reads it chunk by chunk in llama.cpp, and every weight's inputs are summed.

The text is cut as for perplexity, every position of every chunk counts, and four chunks of 512 are read side by side.

Source: llama.cpp tools/imatrix/imatrix.cpp `compute_imatrix`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.imatrix import Imatrix, ImatrixEntry
from pennyweight.evaluation.engine import with_bos
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model
from pennyweight.runtimes.llama_cpp.activations import ActivationSums

BATCH_TOKENS = 2048
"""llama-imatrix's n_batch: tokens read at once."""


def collect_imatrix(
    model: Model,
    chunks: NDArray[np.int32],
    dataset: str,
    *,
    process_output: bool = False,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> Imatrix:
    """Read int32 (chunks, n_ctx) tokens and return what entered each weight; `dataset` is the name kept in the file.

    Raises: BadWeights where an activation is not finite.
    """
    n_ctx = chunks.shape[1]
    chunks = with_bos(chunks, model.facts.bos if model.facts.add_bos else None)
    sums = ActivationSums(with_output=process_output)
    side_by_side = max(1, min(BATCH_TOKENS // n_ctx, len(chunks)))
    settings = ContextSettings(n_ctx=n_ctx, n_batch=side_by_side * n_ctx, n_seq_max=side_by_side, threads=threads)
    with Context(model, settings, evaluation_callback=sums.callback) as context:
        for start in range(0, len(chunks), side_by_side):
            part = chunks[start : start + side_by_side]
            owners, places = np.indices(part.shape)
            context.clear()
            # Every position asks for its output: for the others llama.cpp skips the last block's feed-forward.
            context.decode(part.ravel(), places.ravel(), owners.ravel())
            context.synchronize()
            sums.raise_error()
            advance(len(part))
    entries = {
        name: ImatrixEntry(sums=total.astype(np.float32), counts=sums.counts[name].astype(np.float32))
        for name, total in sums.sums.items()
    }
    return Imatrix(entries=entries, datasets=(dataset,), chunk_count=len(chunks), chunk_size=n_ctx, source="collected")
