"""What others measured of quantized models, each table with who measured it, on what, and who gains by its being true.

Every number stands in the source named with it; none is ours. KL divergences are means, in nats per token, from the
unquantized model; `imatrix` marks rows made with an importance matrix.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file type (or, of a cache, `K/V`) in a table; what the source does not give is None."""

    type: str
    kld: float | None = None
    perplexity: float | None = None
    imatrix: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A published table.

    Attributes:
        model: what was quantized. base_perplexity: of the unquantized model, same text and engine.
        measured_by: who. on: text and protocol. interest: who benefits from the numbers being true.
        address: where it stands.
    """

    model: str
    measured_by: str
    on: str
    interest: str
    address: str
    base_perplexity: float
    rows: tuple[Row, ...]


def _pairs(*rows: tuple[str, float | None, float | None], imatrix: bool = False) -> tuple[Row, ...]:
    """Rows of (type, KL divergence, perplexity)."""
    return tuple(Row(type=name, kld=kld, perplexity=perplexity, imatrix=imatrix) for name, kld, perplexity in rows)


_LLAMA_CPP = "llama.cpp, tools/perplexity/README.md, revision f364eb6f"
_THEIR_OWN = "llama.cpp's developers, who wrote these formats"
_WIKITEXT = "WikiText-2 test, llama-perplexity at 512 tokens"
_SERVING = "the QoQ authors; the rows are of their rivals"

LLAMA_3_8B = Survey(
    model="Llama-3-8B",
    measured_by="J. Gäßler (llama.cpp)",
    on=f"{_WIKITEXT}, RTX 4090",
    interest=_THEIR_OWN,
    address=_LLAMA_CPP,
    base_perplexity=6.2332,
    rows=(
        *_pairs(
            ("F16", 0.00002515, None),  # from BF16, on the processor, revision 83330d8c
            ("Q8_0", 0.001355, 6.2343),
            ("Q6_K", 0.005452, 6.2534),
            ("Q5_K_M", 0.010762, 6.2886),
            ("Q5_K_S", 0.016595, 6.3366),
            ("Q5_1", 0.018045, 6.3379),
            ("Q5_0", 0.022239, 6.3632),
            ("Q4_K_M", 0.031273, 6.4071),
            ("Q4_K_S", 0.043136, 6.5005),
            ("Q4_1", 0.071683, 6.6827),
            ("Q4_0", 0.071940, 6.7001),
            ("Q3_K_L", 0.087176, 6.7879),
            ("Q3_K_M", 0.101913, 6.8885),
            ("Q3_K_S", 0.228217, 7.8638),
            ("Q2_K", 0.445132, 9.7516),
        ),
        *_pairs(
            ("Q4_K_M", 0.028152, 6.3829),
            ("Q4_K_S", 0.031951, 6.4097),
            ("IQ4_NL", 0.035742, 6.4556),
            ("IQ4_XS", 0.036334, 6.4597),
            ("Q3_K_L", 0.073077, 6.6712),
            ("Q3_K_M", 0.084358, 6.7343),
            ("IQ3_M", 0.102534, 6.8983),
            ("IQ3_S", 0.111278, 6.9655),
            ("IQ3_XS", 0.138693, 7.1630),
            ("IQ3_XXS", 0.183625, 7.4584),
            ("Q3_K_S", 0.199821, 7.6029),
            ("IQ2_M", 0.325989, 8.6008),
            ("Q2_K", 0.332223, 8.6478),
            ("Q2_K_S", 0.403360, 9.3238),
            ("IQ2_S", 0.439197, 9.6508),
            ("IQ2_XS", 0.546290, 10.7614),
            ("IQ2_XXS", 0.812022, 14.0918),
            ("IQ1_M", 1.393084, 25.4937),
            ("IQ1_S", 2.254554, 60.6946),
            imatrix=True,
        ),
    ),
)

LLAMA_2_7B = Survey(
    model="Llama-2-7B",
    measured_by="J. Gäßler (llama.cpp)",
    on=f"{_WIKITEXT}, RTX 4090",
    interest=_THEIR_OWN,
    address=_LLAMA_CPP,
    base_perplexity=5.7945,  # 5.798542 − 0.003990, Q8_0's mean and its difference
    rows=_pairs(
        ("Q8_0", 0.000369, 5.7985),
        ("Q6_K", 0.002098, 5.8085),
        ("Q4_K_M", 0.012686, 5.8771),
        ("Q2_K", 0.108903, 5.7946 * 1.107955),  # the source's mean repeats the base; its ratio is 1.107955
    ),
)

LLAMA_2_70B = Survey(
    model="Llama-2-70B",
    measured_by="llama.cpp's contributors",
    on=f"{_WIKITEXT}",
    interest=_THEIR_OWN,
    address=f"{_LLAMA_CPP}, old numbers",
    base_perplexity=3.4313,
    rows=_pairs(
        ("Q6_K", None, 3.4367),
        ("Q5_K_M", None, 3.4451),
        ("Q5_K_S", None, 3.4483),
        ("Q4_K_M", None, 3.4725),
        ("Q4_K_S", None, 3.4852),
        ("Q4_0", None, 3.5550),
        ("Q3_K_L", None, 3.5617),
        ("Q3_K_M", None, 3.5932),
        ("Q3_K_S", None, 3.7019),
        ("Q2_K", None, 3.7339),
    ),
)


def _served(model: str, *perplexities: float) -> Survey:
    """A column of the table in deepcompressor's README: FP16 first, then the methods of `_SERVED`."""
    base, *rest = perplexities
    return Survey(
        model=model,
        measured_by="the QServe/deepcompressor authors",
        on="WikiText-2 test in windows of 2048 tokens",
        interest=_SERVING,
        address="deepcompressor, examples/llm/README.md; arXiv 2405.04532",
        base_perplexity=base,
        rows=_pairs(*((name, None, value) for name, value in zip(_SERVED, rest, strict=True))),
    )


_SERVED = ("W8A8", "GPTQ", "AWQ", "W4A8KV4")

SERVED = (
    _served("Llama-2-7B", 5.47, 5.54, 5.63, 5.60, 5.67),
    _served("Llama-2-13B", 4.88, 4.95, 4.99, 4.97, 5.06),
    _served("Llama-2-70B", 3.32, 3.36, 3.43, 3.41, 3.46),
    _served("Llama-3-8B", 6.14, 6.28, 6.56, 6.54, 6.70),
    _served("Llama-3-70B", 2.85, 3.14, 3.42, 3.20, 3.50),
    _served("Llama-3.1-8B", 6.24, 6.38, 6.64, 6.60, 6.77),
)

CACHES = (
    Survey(
        model="Llama-3-8B",
        measured_by="J. Gäßler (llama.cpp)",
        on=f"{_WIKITEXT}, cache as named, weights F16",
        interest="llama.cpp's developers, who wrote these caches",
        address="llama.cpp pull request 7412",
        base_perplexity=6.2298,
        rows=_pairs(
            ("F16/F16", 0.000189, 6.2322),
            ("F16/Q8_0", 0.000743, 6.2328),
            ("Q8_0/F16", 0.000944, 6.2331),
            ("Q8_0/Q8_0", 0.000980, 6.2344),
        ),
    ),
    Survey(
        model="Llama-3.1-8B",
        measured_by="llama.cpp's contributors",
        on="perplexity of one text; keys rotated by a Hadamard matrix, as llama.cpp does since April 2026",
        interest="llama.cpp's developers, who wrote these caches",
        address="llama.cpp issue 21192",
        base_perplexity=8.849,
        rows=_pairs(("Q4_0/Q4_0", None, 8.972)),
    ),
)
"""What quantized caches cost; types are keys/values."""

WEIGHTS = (LLAMA_3_8B, LLAMA_2_7B, LLAMA_2_70B, *SERVED)
"""Tables of quantized weights, the fullest first."""

RULE_OF_THUMB = {
    "F16": 100.0,
    "Q8_0": 99.0,
    "Q6_K": 97.0,
    "Q5_K_M": 95.0,
    "IQ4_XS": 95.0,
    "Q4_K_M": 92.0,
    "Q3_K_S": 88.0,
}
"""Percent of the unquantized model's quality that the field says a type keeps. Nobody is known to have measured these,
and no text, task or model is named with them: they order types, and claim no more."""
