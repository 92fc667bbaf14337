"""Calibration tokens: a text cut into chunks, of which a seed picks some, or text that the model writes itself.

    text  → tokens → chunks without overlap, the first at a seeded offset → `samples` of them, drawn without return
    self  → each sequence starts with BOS (or a seeded token) and goes on by sampling at temperature 1

Every chunk starts with BOS where the model adds one, as llama.cpp's programs read a text. A text that is also evaluated
on would flatter the result, so `require_held_back` refuses one that shares passages with it.

Source of sampling from the model: LLM-QAT (arXiv 2305.17888), section 3.1.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model

SELF = "self"
"""The name of the text that the model writes itself."""

LANES = 16
"""Sequences written side by side; each has its own generator, so this changes speed and float rounding only."""

WINDOW, WINDOWS, SHARED_LIMIT = 64, 200, 0.02
"""Overlap of two texts: `WINDOWS` passages of `WINDOW` bytes of one are looked for in the other. Of 200 passages of the
embedded model's evaluation text none stands in any of thirteen public-domain books; a title page would be a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """What to calibrate on: `samples` chunks of `length` tokens, drawn by `seed`."""

    samples: int = 128
    length: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.length < 4 or self.seed < 0:
            raise BadRequest(
                f"{self.samples} samples of {self.length} tokens, seed {self.seed}; at least 1 of 4, and no negative "
                "seed, are wanted"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Chunks to calibrate on, and where they come from.

    Attributes:
        tokens: int32 (samples, length), BOS first where the model adds it.
        source: the text's name, for a person.
        digest: SHA-256 of the tokens: the same tokens give the same model.
        notes: what a person should know, such as fewer chunks than asked for.
    """

    tokens: NDArray[np.int32]
    source: str
    digest: str
    notes: tuple[str, ...] = ()


def from_text(tokens: NDArray[np.int32], bos: int | None, source: str, options: CalibrationOptions) -> Calibration:
    """Chunks of a text: int32 (n,) tokens, BOS first or not.

    Raises: BadRequest for a text shorter than one chunk.
    """
    length, rng = options.length, np.random.default_rng(options.seed)
    if len(tokens) < length:
        raise BadRequest(f"{source} has {len(tokens)} tokens, less than one sample of {length}; give more text")
    offset = int(rng.integers(0, len(tokens) % length + 1))
    count = (len(tokens) - offset) // length
    chunks = tokens[offset : offset + count * length].reshape(count, length)
    drawn = np.sort(rng.permutation(count)[: options.samples])
    notes = ()
    if count < options.samples:
        notes = (f"{source} has {count} chunks of {length} tokens, {options.samples} were asked for; all are used",)
    return _calibration(_with_bos(chunks[drawn], bos), source, notes)


def from_model(
    model: Model, options: CalibrationOptions, *, threads: int | None = None, advance: Callable[[int], None]
) -> Calibration:
    """Chunks that `model` writes: `advance` hears of each group of sequences as it is done."""
    parts = [
        _written(model, range(start, min(start + LANES, options.samples)), options, threads, advance)
        for start in range(0, options.samples, LANES)
    ]
    return _calibration(np.concatenate(parts), SELF, ())


def require_held_back(calibration: bytes, evaluation: bytes, name: str) -> None:
    """Raises: BadRequest where the calibration text contains passages of the evaluation text."""
    shared = shared_fraction(calibration, evaluation)
    if shared > SHARED_LIMIT:
        raise BadRequest(
            f"the calibration text holds {shared:.0%} of {name}, which is evaluated on: the result would be flattered; "
            "calibrate on another text, or on `self`"
        )


def shared_fraction(calibration: bytes, evaluation: bytes) -> float:
    """How many of evenly spaced passages of `evaluation` stand in `calibration`, 0 to 1; white space does not count."""
    haystack, text = b" ".join(calibration.split()), b" ".join(evaluation.split())
    last = len(text) - WINDOW
    if last < 0:
        return float(text in haystack) if text else 0.0
    starts = np.unique(np.linspace(0, last, WINDOWS).astype(int))
    return float(np.mean([text[start : start + WINDOW] in haystack for start in starts]))


def _calibration(tokens: NDArray[np.int32], source: str, notes: tuple[str, ...]) -> Calibration:
    digest = hashlib.sha256(f"{tokens.shape}".encode() + np.ascontiguousarray(tokens, "<i4").tobytes()).hexdigest()
    return Calibration(tokens=tokens, source=source, digest=digest, notes=notes)


def _with_bos(chunks: NDArray[np.int32], bos: int | None) -> NDArray[np.int32]:
    read = chunks.copy()
    if bos is not None:
        read[:, 0] = bos
    return read


def _written(
    model: Model, indices: range, options: CalibrationOptions, threads: int | None, advance: Callable[[int], None]
) -> NDArray[np.int32]:
    generators = [np.random.default_rng((options.seed, index)) for index in indices]
    facts, count = model.facts, len(generators)
    tokens = np.empty((count, options.length), np.int32)
    starts = [rng.integers(0, facts.n_vocab) for rng in generators]  # drawn either way: BOS costs no randomness
    tokens[:, 0] = facts.bos if facts.add_bos and facts.bos is not None else starts
    settings = ContextSettings(n_ctx=options.length, n_batch=count, n_ubatch=count, n_seq_max=count, threads=threads)
    with Context(model, settings) as context:
        lanes = np.arange(count)
        for position in range(1, options.length):
            context.decode(tokens[:, position - 1], np.full(count, position - 1), lanes)
            tokens[:, position] = _sampled(context.logits(), generators)
    advance(count)
    return tokens


def _sampled(logits: NDArray[np.float32], generators: list[np.random.Generator]) -> NDArray[np.int32]:
    """One token per row at temperature 1: the first whose cumulative probability passes a uniform number."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    sums = np.cumsum(weights, axis=1)
    drawn = np.array([rng.random() for rng in generators]) * sums[:, -1]
    return np.minimum((sums <= drawn[:, None]).sum(axis=1), logits.shape[1] - 1).astype(np.int32)
