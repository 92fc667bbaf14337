"""One measured number with everything that is needed to trust it, repeat it or find it again."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number, and what, how, where and when.

    Attributes:
        model: its name, as asked for.
        fingerprint: of its tensors (`checkpoints.fingerprint`): 64 hex digits.
        type: file type or recipe.
        bytes, bits_per_weight: of the file that was measured.
        base: fingerprint of what it was compared with; None for a number that needs no base.
        metric: `perplexity`, `kld_mean`, `delta_ln_ppl`, `same_top`, `prompt_tok_s`, `decode_tok_s` …
        value, stderr: in the metric's unit; stderr None where nothing is known of it.
        protocol: in words, complete enough to be repeated.
        text_hash: SHA-256 of the text that was read; None for a speed.
        n_ctx, chunks: tokens of a chunk and how many; None for a speed.
        engine: runtime and build. versions: packages. hardware: the machine in words.
        when: UTC, ISO 8601, seconds.
    """

    model: str
    fingerprint: str
    type: str
    bytes: int
    bits_per_weight: float
    base: str | None = None
    metric: str
    value: float
    stderr: float | None = None
    protocol: str
    text_hash: str | None = None
    n_ctx: int | None = None
    chunks: int | None = None
    engine: str
    versions: str
    hardware: str
    when: str
    seed: int | None = None


def now() -> str:
    """This moment as `Measurement.when` has it: `2026-11-23T16:05:09+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")
