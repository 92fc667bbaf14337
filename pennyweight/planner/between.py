"""The largest and the smallest that a model of unknown architecture can be, planned → one candidate with ranges.

What is planned is the largest: what is said to fit fits whatever the architecture turns out to be.
"""

from dataclasses import replace

from pennyweight.planner.candidate import Candidate
from pennyweight.planner.quantity import Basis, Quantity


def between(most: Candidate, least: Candidate) -> Candidate:
    """The largest, its sizes from the smallest's on, its speeds up to the smallest's."""
    return replace(
        most,
        weights_bytes=_up_to(most.weights_bytes, least.weights_bytes, "bounds from the counts of its config"),
        kv_bytes=_up_to(most.kv_bytes, least.kv_bytes, "bounds: full attention in every block at most"),
        total_bytes=_up_to(most.total_bytes, least.total_bytes, most.total_bytes.source),
        prompt_tok_s=_down_to(most.prompt_tok_s, least.prompt_tok_s),
        decode_tok_s=_down_to(most.decode_tok_s, least.decode_tok_s),
        first_token_seconds=_up_to(most.first_token_seconds, least.first_token_seconds, most.seconds.source),
        seconds=_up_to(most.seconds, least.seconds, most.seconds.source),
        may_fit=least.fits and not most.fits,
    )


def _up_to(most: Quantity, least: Quantity, source: str) -> Quantity:
    """A range that ends with the most; its value is the most."""
    low, high = least.value if least.low is None else least.low, most.value if most.high is None else most.high
    return Quantity(value=most.value, basis=Basis.HEURISTIC, source=source, low=low, high=high)


def _down_to(most: Quantity, least: Quantity) -> Quantity:
    """A range of speeds, the value that of the largest model, which is the slowest."""
    low, high = most.value if most.low is None else most.low, least.value if least.high is None else least.high
    return replace(most, basis=Basis.HEURISTIC, low=low, high=high)
