"""KL divergence of a model from its unquantized base, token by token on the same text, with everything that is known of
its error.

    KL(base ‖ model) = Σ p log(p / q), in nats, at every scored position (`evaluation.engine`)

Two perplexities have error bars of a percent or more on a text of common length, since texts differ; their *difference*
on the same tokens is known twenty times better. So Δ ln PPL is the mean of nll_model - nll_base, paired, with the
standard error of that mean.

Source: llama.cpp tools/perplexity/perplexity.cpp `kl_divergence`, whose figures these are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.evaluation.base import BaseLogits, LiveBase, RowDivergence
from pennyweight.evaluation.engine import LogitsEngine, check_vocabulary, targets, with_bos
from pennyweight.evaluation.perplexity import mean_and_stderr
from pennyweight.evaluation.softmax import negative_log_likelihood, row_sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """How far a model's predictions are from its base's.

    Attributes:
        kld_mean, kld_stderr: nats a token, and the standard error of the mean over tokens.
        kld_median … kld_max: of the tokens' divergences.
        storage_error: how far `kld_mean` may be off because the base was stored compactly (rounding at most, drawing
            at two standard errors); 0 for a live base; None for llama.cpp's file, of which it is not known.
        noise_floor: `kld_mean` of the base against itself by the same route; a smaller divergence says nothing. None
            where a stored base does not say.
        same_top, same_top_stderr: share of tokens where both find the same token likeliest.
        rms_delta_p: root mean square of p_model - p_base of the token that came.
        delta_ln_ppl, delta_ln_ppl_stderr: ln(PPL_model / PPL_base) and its paired standard error.
        perplexity, perplexity_stderr, base_perplexity, base_perplexity_stderr: as `evaluation.perplexity` has them.
        tokens, chunks, n_ctx: what was scored.
        engine: runtime and version of the model.
    """

    kld_mean: float
    kld_stderr: float
    kld_median: float
    kld_p90: float
    kld_p99: float
    kld_p999: float
    kld_max: float
    storage_error: float | None
    noise_floor: float | None
    same_top: float
    same_top_stderr: float
    rms_delta_p: float
    delta_ln_ppl: float
    delta_ln_ppl_stderr: float
    perplexity: float
    perplexity_stderr: float
    base_perplexity: float
    base_perplexity_stderr: float
    tokens: int
    chunks: int
    n_ctx: int
    engine: str


def compare(
    base: BaseLogits,
    engine: LogitsEngine,
    *,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda chunks: None,
) -> Divergence:
    """Run `engine` over the base's chunks; `advance` hears of chunks done.

    Raises: BadRequest where vocabularies or contexts differ; BadWeights where logits are not finite.
    """
    check_vocabulary(base.n_vocab, base.vocabulary_hash, engine)
    if base.chunks.shape[1] != engine.n_ctx:
        raise BadRequest(
            f"BASE has chunks of {base.chunks.shape[1]} tokens, MODEL reads {engine.n_ctx}; use the same -c"
        )
    parts: list[tuple[NDArray[np.float64], NDArray[np.bool_], RowDivergence]] = []
    done = 0
    for logits in engine.scored_logits(with_bos(base.chunks, engine.bos)):
        flat = logits.reshape(-1, engine.n_vocab)
        sums = row_sums(flat, threads)
        rows = base.against(done, logits, sums, threads)
        nll = negative_log_likelihood(flat, sums, targets(base.chunks)[done : done + len(logits)].ravel())
        parts.append((nll, flat.argmax(axis=1) == rows.base_top, rows))
        done += len(logits)
        advance(len(logits))
    return _summary(base, engine, parts)


def arithmetic_noise(engine: LogitsEngine, twin: LogitsEngine, chunks: NDArray[np.int32]) -> float:
    """Mean KL divergence of a model from itself read by `twin`, another engine over the same weights, in nats.

    With a twin of another micro-batch size this is what the order of float sums alone does. A few chunks are enough.
    """
    return compare(LiveBase(engine, chunks), twin).kld_mean


def _summary(
    base: BaseLogits, engine: LogitsEngine, parts: list[tuple[NDArray[np.float64], NDArray[np.bool_], RowDivergence]]
) -> Divergence:
    nll = np.concatenate([part[0] for part in parts])
    same = np.concatenate([part[1] for part in parts])
    kld, bound, variance, base_nll = (
        np.concatenate([getattr(rows, name) for _, _, rows in parts])
        for name in ("kld", "bound", "variance", "base_nll")
    )
    kld_mean, kld_stderr = mean_and_stderr(kld)
    same_top, same_top_stderr = mean_and_stderr(same.astype(np.float64))
    delta, delta_stderr = mean_and_stderr(nll - base_nll)
    (mean, stderr), (base_mean, base_stderr) = mean_and_stderr(nll), mean_and_stderr(base_nll)
    median, p90, p99, p999, largest = (float(value) for value in np.quantile(kld, [0.5, 0.9, 0.99, 0.999, 1]))
    return Divergence(
        kld_mean=kld_mean,
        kld_stderr=kld_stderr,
        kld_median=median,
        kld_p90=p90,
        kld_p99=p99,
        kld_p999=p999,
        kld_max=largest,
        storage_error=_storage_error(bound, variance),
        noise_floor=base.noise_floor,
        same_top=same_top,
        same_top_stderr=same_top_stderr,
        rms_delta_p=float(np.sqrt(np.mean((np.exp(-nll) - np.exp(-base_nll)) ** 2))),
        delta_ln_ppl=delta,
        delta_ln_ppl_stderr=delta_stderr,
        perplexity=float(np.exp(mean)),
        perplexity_stderr=float(np.exp(mean) * stderr),
        base_perplexity=float(np.exp(base_mean)),
        base_perplexity_stderr=float(np.exp(base_mean) * base_stderr),
        tokens=len(kld),
        chunks=len(base.chunks),
        n_ctx=engine.n_ctx,
        engine=engine.name,
    )


def _storage_error(bound: NDArray[np.float64], variance: NDArray[np.float64]) -> float | None:
    """Of the mean over float64 (tokens,) of each; None where a bound is not known, which NaN says."""
    if np.isnan(bound).any():
        return None
    return float(bound.mean() + 2 * np.sqrt(variance.sum()) / len(bound))
