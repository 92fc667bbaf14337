"""A sweep that never ran, with numbers as one finds them: for tests of what is drawn and written."""

from dataclasses import replace

from pennyweight.evaluation.sweep import BaseLevel, Failure, Provenance, SweepResult, SweepRow

LEVELS = (
    ("Q8_0", 8.52, 0.00011, 0.0001, 0.0004, 48.0),
    ("Q6_K", 6.58, 0.00049, 0.0009, 0.0006, 55.0),
    ("Q5_K_M", 5.72, 0.00131, 0.0021, 0.0009, 62.0),
    ("Q4_K_M", 4.96, 0.00452, 0.0078, 0.0012, 71.0),
    ("IQ4_XS", 4.36, 0.00711, 0.0112, 0.0015, 69.0),
    ("Q3_K_S", 3.61, 0.03920, 0.0561, 0.0041, 84.0),
    ("Q2_K", 3.36, 0.07820, 0.1210, 0.0063, 92.0),
)
"""Type, bits per weight, KL divergence, paired loss and its error, tokens a second."""

WEIGHTS = 596_000_000


def sweep_case(*, speeds: bool = True, texts: bool = False, **changes: object) -> SweepResult:
    """The field's seven levels of a model of 0.6 G weights."""
    rows = [_row(*level, speeds=speeds, text="It was a dark night" if texts else None) for level in LEVELS]
    result = SweepResult(
        model="Qwen3-0.6B",
        base=BaseLevel(
            type="BF16",
            bytes=2 * WEIGHTS,
            bits_per_weight=16.0,
            perplexity=20.9,
            stderr=0.2,
            noise_floor=2e-6,
        ),
        rows=tuple(rows),
        failures=(),
        provenance=Provenance(
            text="wiki.test.raw",
            text_hash="e3b0" * 16,
            protocol="llama-perplexity: chunks of 512 tokens, no overlap, BOS 1 first, the second half scored",
            n_ctx=512,
            chunks=580,
            tokens=147_900,
            engine="llama.cpp b11549",
            versions="pennyweight 0.1.0, Python 3.12.1",
            hardware="a machine, 8 cores, 32 GiB memory, Linux x86_64",
            cache_bytes=32 << 20,
            fingerprint="ab" * 32,
            seed=0,
            when="2026-11-23T16:00:00+00:00",
        ),
        seconds=754.0,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def failed_case() -> SweepResult:
    """The same, one level of it failed."""
    whole = sweep_case()
    return replace(whole, rows=whole.rows[:-1], failures=(Failure(type="Q2_K", reason="the disk is full"),))


def _row(
    type: str, bits: float, kld: float, delta: float, error: float, speed: float, *, speeds: bool, text: str | None
) -> SweepRow:
    tensor_bytes = int(WEIGHTS * bits / 8)
    return SweepRow(
        type=type,
        output=f"out/Qwen3-0.6B-{type}.gguf",
        bytes=tensor_bytes + 5_900_000,
        bits_per_weight=bits,
        encode_weights_per_second=135e6,
        prompt_tok_s=412.0 if speeds else None,
        prompt_stdev=3.0 if speeds else None,
        decode_tok_s=speed if speeds else None,
        decode_stdev=1.1 if speeds else None,
        speed_bytes=tensor_bytes if speeds else None,
        synthetic=None,
        perplexity=20.9 * (1 + delta),
        stderr=0.2,
        delta_ln_ppl=delta,
        delta_ln_ppl_stderr=error,
        kld_mean=kld,
        kld_stderr=kld / 25,
        kld_median=kld / 3,
        kld_p99=kld * 9,
        same_top=1 - 3 * kld,
        storage_error=1e-6,
        tokens=147_900,
        base_perplexity=20.9,
        base_stderr=0.2,
        base_fingerprint="ab" * 32,
        noise_floor=2e-6,
        engine="llama.cpp b11549",
        protocol="llama-perplexity",
        text=text,
    )
