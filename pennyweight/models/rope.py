"""Rotary position embeddings: how a config stretches them, and the frequency factors of Llama 3.

Source: transformers `modeling_rope_utils.py`; llama.cpp conversion/base.py `set_gguf_parameters`, conversion/llama.py
`generate_extra_tensors`; YaRN, arXiv 2309.00071.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import FormatError, UnsupportedModel

_ORIGINAL = "original_max_position_embeddings"
_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"}
_TAKEN = {
    "default": set[str](),
    "linear": {"factor"},
    # Dynamic NTK changes nothing up to `max_position_embeddings`, which is the context we write.
    "dynamic": {"factor", _ORIGINAL},
    "yarn": {"factor", _ORIGINAL, "attention_factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", _ORIGINAL},
}
"""Kinds of scaling, and the options of each that we carry over."""

_FIXED = {
    "yarn": {
        "beta_fast": (32, None),
        "beta_slow": (1, None),
        "extrapolation_factor": (1, None),
        "truncate": (True, None),
    },
}
"""Options that llama.cpp reads for other architectures only (its converter writes them all the same): what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary embeddings of base `theta`; the options of its kind, None where they are unused or left to the default.

    Attributes:
        kind: `default`, `linear`, `dynamic`, `yarn` or `llama3`.
        original_context: positions before stretching, tokens.
        attention_factor: YaRN's factor of cosine and sine; None for its own, 1 + 0.1 ln(factor).
    """

    theta: float
    kind: str
    factor: float | None = None
    original_context: int | None = None
    attention_factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None


def rope_from_config(config: Mapping[str, Any], default_theta: float) -> Rope:
    """Read `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before).

    Raises:
        UnsupportedModel: a kind of scaling, or an option of one, that we know of no faithful way to write.
        FormatError: a needed option is missing or no positive number.
    """
    options = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(options, dict) or any(isinstance(value, dict) for value in options.values()):
        raise UnsupportedModel("config.json: rope_parameters differ by layer type; wanted one set for all layers")
    kind = _kind(options)
    stated = options.get("rope_theta")
    theta = _number({"rope_theta": config.get("rope_theta") if stated is None else stated}, "rope_theta", default_theta)
    partial = options.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise UnsupportedModel(f"config.json: partial_rotary_factor is {partial!r}; llama.cpp rotates whole heads here")
    context = _number(config, "max_position_embeddings")
    original = config.get(_ORIGINAL) or options.get(_ORIGINAL) or context
    low, high = (_number(options, f"{end}_freq_factor") if kind == "llama3" else None for end in ("low", "high"))
    if low is not None and high is not None and high <= low:
        raise FormatError(f"config.json: high_freq_factor is {high}, low_freq_factor {low}; wanted high above low")
    return Rope(
        theta=theta,
        kind=kind,
        factor=None if kind == "default" else _number(options, "factor"),
        original_context=int(_number({_ORIGINAL: original}, _ORIGINAL)) if kind in ("yarn", "llama3") else None,
        attention_factor=_attention_factor(options) if kind == "yarn" else None,
        low_freq_factor=low,
        high_freq_factor=high,
    )


def frequency_factors(rope: Rope, head_length: int) -> NDArray[np.float32]:
    """Llama 3's divisors of the rotary frequencies, float32 (head_length / 2,), all at least 1.

    With λᵢ = 2π θ^(2i/d) the wavelength of pair i and L the original context, the divisor is

        1                                  λ < L / high_freq_factor
        factor                             λ > L / low_freq_factor
        1 / ((1 − s) / factor + s)         between, with s = (L/λ − low) / (high − low)
    """
    factor, low, high, context = rope.factor, rope.low_freq_factor, rope.high_freq_factor, rope.original_context
    if rope.kind != "llama3" or factor is None or low is None or high is None or context is None:
        raise ValueError(f"frequency factors are llama3's, got {rope.kind}")
    # float32 throughout, in the order of operations of the reference, so that the bytes are the same.
    exponents = np.arange(0, head_length, 2, dtype=np.float32) / np.float32(head_length)
    wavelengths = np.float32(2 * math.pi) / (np.float32(1) / np.float32(rope.theta) ** exponents)
    smooth = (np.float32(context) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = np.float32(1) / ((np.float32(1) - smooth) / np.float32(factor) + smooth)
    long = wavelengths > np.float32(context / low)
    return np.where(
        wavelengths < np.float32(context / high), np.float32(1), np.where(long, np.float32(factor), between)
    )


def _kind(options: Mapping[str, Any]) -> str:
    kind = options.get("rope_type", options.get("type")) or "default"
    taken = _TAKEN.get(kind) if isinstance(kind, str) else None
    if taken is None:
        raise UnsupportedModel(f"config.json: rope_type {kind!r} is not carried over; known: {', '.join(_TAKEN)}")
    if kind == "default":  # transformers reads no option of it
        return kind
    fixed = _FIXED.get(kind, {})
    stated = {key: value for key, value in options.items() if value is not None}
    unknown = [key for key in stated if key not in _COMMON | taken | fixed.keys()]
    unknown += [key for key in fixed if options.get(key) not in fixed[key]]
    if unknown:
        named = ", ".join(f"{key} {stated[key]!r}" for key in unknown)
        raise UnsupportedModel(f"config.json: llama.cpp has no rope_type {kind!r} with {named} for this architecture")
    return kind


def _attention_factor(options: Mapping[str, Any]) -> float | None:
    return None if options.get("attention_factor") is None else _number(options, "attention_factor")


def _number(options: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = options.get(key)
    value = default if value is None else value
    if value is None:
        raise FormatError(f"config.json lacks {key} of its rope parameters")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise FormatError(f"config.json: {key} is {value!r}; wanted a positive number")
    return float(value)
