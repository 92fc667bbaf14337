"""What perplexity, compare and sweep share: how to evaluate, which model it was, and how that is kept in the store."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.fingerprint import fingerprint, stored_type, tensor_bytes
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.evaluation.divergence import Divergence, arithmetic_noise
from pennyweight.evaluation.engine import LogitsEngine
from pennyweight.jobs.notes import run_notes
from pennyweight.jobs.runnable import runnable
from pennyweight.pipeline.activations import activation_hooks
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.llama_cpp.logits import LlamaCppLogits
from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings
from pennyweight.store.database import open_store
from pennyweight.store.machine import hardware, versions
from pennyweight.store.measurement import Measurement, now

ENGINES = ("llama.cpp", "torch")
"""What can turn tokens into logits here."""

Scorer = LlamaCppLogits | TorchLogits

MICRO_BATCH = 512

NOISE_CHUNKS = 2
"""Chunks that the noise floor is measured on: 500 tokens tell it to a few per cent, and cost little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """How to score a text: chunks of `ctx` tokens, at most `chunks` of them, by `engine` of `ENGINES`."""

    ctx: int = 512
    chunks: int | None = None
    engine: str = "llama.cpp"
    gpu_layers: int = 0
    threads: int | None = None


USUAL = EvaluationOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model it was, as `Measurement` keeps it; bytes and bits per weight are those of the tensors."""

    model: str
    fingerprint: str
    type: str
    bytes: int
    bits_per_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number to record; `base` is the fingerprint of what it compares with."""

    name: str
    value: float
    stderr: float | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the text was read; `text_hash` is the SHA-256 of its bytes as scored."""

    text_hash: str
    protocol: str
    n_ctx: int
    chunks: int
    engine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How something was timed: no text was read."""

    protocol: str
    engine: str
    text_hash: None = None
    n_ctx: None = None
    chunks: None = None


def require_engine(options: EvaluationOptions) -> None:
    """Raises: UnknownName; BadRequest where the options are another engine's."""
    if options.engine not in ENGINES:
        raise UnknownName.among("engine", options.engine, ENGINES)
    if options.engine == "torch" and options.gpu_layers:
        raise BadRequest("-ngl is llama.cpp's; the torch engine takes a GPU where PyTorch has one")


@contextmanager
def logits_engine(model: str, options: EvaluationOptions) -> Iterator[Scorer]:
    """MODEL, loaded and ready to score. Raises: as `runnable` and `Model.load`, or as `TorchLogits`."""
    require_engine(options)
    if options.engine == "torch":
        settings = TorchSettings(n_ctx=options.ctx, threads=options.threads)
        checkpoint = open_checkpoint(model)
        with TorchLogits(checkpoint, settings, activation_hooks(checkpoint)) as engine:
            yield engine
        return
    with (
        runnable(model) as gguf,
        Model.load(gguf, n_gpu_layers=options.gpu_layers) as loaded,
        LlamaCppLogits(loaded, n_ctx=options.ctx, n_ubatch=MICRO_BATCH, threads=options.threads) as engine,
    ):
        yield engine


def noise_of(engine: Scorer, chunks: NDArray[np.int32], options: EvaluationOptions) -> float:
    """Mean KL divergence of a model from itself, read in other micro-batches: what float sums alone do."""
    if isinstance(engine, TorchLogits):
        return arithmetic_noise(engine, engine.regrouped(), chunks[:NOISE_CHUNKS])
    half = LlamaCppLogits(engine.model, n_ctx=options.ctx, n_ubatch=MICRO_BATCH // 2, threads=options.threads)
    with half as twin:
        return arithmetic_noise(engine, twin, chunks[:NOISE_CHUNKS])


def scoring_notes(model: str, options: EvaluationOptions) -> tuple[str, ...]:
    """What a person should know of MODEL scored so; see `jobs.notes`."""
    return run_notes(open_checkpoint(model), options.ctx, in_llama_cpp=options.engine == "llama.cpp")


def text_hash(data: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def shown_name(model: str) -> str:
    """MODEL without what is nobody else's: a path's last part; a repository's name without its owner and type."""
    path = Path(model)
    return path.resolve().name if path.exists() else model.rpartition("/")[2].partition(":")[0]


def identify(model: str) -> Identity:
    """Which model MODEL is, from its header and samples of its tensors."""
    checkpoint = open_checkpoint(model)
    total, bits_per_weight = tensor_bytes(checkpoint)
    return Identity(
        model=shown_name(model),
        fingerprint=fingerprint(checkpoint),
        type=stored_type(checkpoint),
        bytes=total,
        bits_per_weight=bits_per_weight,
    )


def protocol(engine: LogitsEngine) -> str:
    """llama-perplexity's protocol at this engine's settings, in words."""
    bos = "no BOS" if engine.bos is None else f"BOS {engine.bos} first"
    return f"llama-perplexity: chunks of {engine.n_ctx} tokens, no overlap, {bos}, the second half scored"


def record(model: Identity, metrics: Sequence[Metric], reading: Reading, seed: int | None = None) -> None:
    """Keep `metrics` of `model` in the measurement store. Raises: OutputError, FormatError, BadRequest of the store."""
    record_each(model, ((metric, reading) for metric in metrics), seed)


def record_each(model: Identity, measured: Iterable[tuple[Metric, Reading | Timing]], seed: int | None = None) -> None:
    """Keep numbers that were each made in a way of their own; `seed`: of the model's weights, where they are random.

    Raises: as `record`.
    """
    when = now()
    with open_store() as store:
        store.record(
            Measurement(
                model=model.model,
                fingerprint=model.fingerprint,
                type=model.type,
                bytes=model.bytes,
                bits_per_weight=model.bits_per_weight,
                base=metric.base,
                metric=metric.name,
                value=metric.value,
                stderr=metric.stderr,
                protocol=made.protocol,
                text_hash=made.text_hash,
                n_ctx=made.n_ctx,
                chunks=made.chunks,
                engine=made.engine,
                versions=versions(),
                hardware=hardware(),
                when=when,
                seed=seed,
            )
            for metric, made in measured
        )


def divergence_metrics(found: Divergence, base: str) -> tuple[Metric, ...]:
    """The numbers of a comparison that are worth keeping; `base` is the base's fingerprint, or its file's name."""
    return (
        Metric(name="perplexity", value=found.perplexity, stderr=found.perplexity_stderr),
        Metric(name="kld_mean", value=found.kld_mean, stderr=found.kld_stderr, base=base),
        Metric(name="kld_p99", value=found.kld_p99, base=base),
        Metric(name="delta_ln_ppl", value=found.delta_ln_ppl, stderr=found.delta_ln_ppl_stderr, base=base),
        Metric(name="same_top", value=found.same_top, stderr=found.same_top_stderr, base=base),
    )
