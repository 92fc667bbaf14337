"""The finding of a sweep in a sentence or two, with the error that it is known to."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, hypot

from pennyweight.evaluation.sweep import SweepResult, SweepRow

CLIFF_FACTOR = 3.0
"""A step to the next smaller level that multiplies the divergence by more is worth naming."""


def headline(result: SweepResult) -> str:
    """What a reader should remember: the usual choice against the safest level, and where the cliff is."""
    return " ".join(sentence for sentence in (_usual_choice(result), _cliff(result.rows)) if sentence)


def _usual_choice(result: SweepResult) -> str:
    """Q4_K_M, or where it was not measured the middle of the sizes, against the largest level."""
    by_size = sorted(result.rows, key=lambda row: -row.bytes)
    largest = by_size[0]
    chosen = next((row for row in by_size if row.type == "Q4_K_M"), by_size[len(by_size) // 2])
    if chosen is largest:
        return f"{chosen.type}: perplexity {chosen.perplexity:.2f}, {_change(chosen)} that of {result.base.type}."
    return (
        f"{chosen.type} takes {100 * chosen.bytes / largest.bytes:.0f} % of {largest.type}'s bytes"
        f"{_speed(chosen, largest)}, and its perplexity is {_change(chosen)} that of {result.base.type}."
    )


def _speed(chosen: SweepRow, largest: SweepRow) -> str:
    """`, writes 43 % faster`, where both speeds were measured; on a busy machine they may not tell the two apart."""
    if not (chosen.decode_tok_s and largest.decode_tok_s):
        return ""
    gain = chosen.decode_tok_s / largest.decode_tok_s - 1
    noise = hypot((chosen.decode_stdev or 0) / chosen.decode_tok_s, (largest.decode_stdev or 0) / largest.decode_tok_s)
    said = f"writes {100 * abs(gain):.0f} % {'faster' if gain >= 0 else 'slower'}"
    if abs(gain) <= 2 * noise:
        said = "writes at a speed that this run cannot tell from its"
    return f", {said}{' (a synthetic model)' if chosen.synthetic else ''}"


def _change(row: SweepRow) -> str:
    """`1.2 ± 0.1 % above`, from the paired Δ ln perplexity."""
    change = 100 * (exp(row.delta_ln_ppl) - 1)
    error = 100 * exp(row.delta_ln_ppl) * row.delta_ln_ppl_stderr
    if not row.is_distinguishable:
        return f"within the error ({change:+.2f} ± {error:.2f} %) of"
    digits = 2 if error < 0.1 else 1
    return f"{abs(change):.{digits}f} ± {error:.{digits}f} % {'above' if change > 0 else 'below'}"


def _cliff(rows: Sequence[SweepRow]) -> str:
    """The steepest step down in size, where there is one."""
    by_size = sorted((row for row in rows if row.kld_mean > 0), key=lambda row: -row.bits_per_weight)
    # Below a hundredth of a nat predictions hardly move, and a step there is no cliff.
    steps = [(b.kld_mean / a.kld_mean, a, b) for a, b in pairwise(by_size) if b.kld_mean > 0.01]
    if not steps:
        return ""
    factor, above, below = max(steps, key=lambda step: step[0])
    if factor < CLIFF_FACTOR:
        return ""
    return f"The steepest step is from {above.type} to {below.type}, where the divergence grows {factor:.1f}-fold."
