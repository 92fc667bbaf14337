"""Tokens per second by llama-bench's protocol: random tokens, one warm-up, then repetitions from an empty cache.

    pp N   N prompt tokens in pieces of n_batch, logits of each piece's last token only; waits once, at the end
    tg N   N tokens one at a time, each waited for; no sampling and no text, the next token is random too

Each test has a context of its own with just the room it needs. The clock holds what llama-bench's holds: drawing a
token and calling llama.cpp. (Our call costs some ten microseconds more than C's, which shows only in models of a few
megabytes.)

Source: llama.cpp tools/llama-bench/llama-bench.cpp `test_prompt`, `test_gen`, `main` (b11549).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest
from pennyweight.runtimes.llama_cpp import BUILD, Context, ContextSettings, Model, system_info
from pennyweight.runtimes.speed import LLAMA_BENCH_DEFAULTS, Speed, SpeedReport, SpeedSettings
from pennyweight.runtimes.system_info import backend_and_instructions

Tokens = NDArray[np.int32]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """One of llama-bench's tests: what is run, and how many tokens long."""

    name: str
    run: Callable[[Context, Tokens, int], None]
    tokens: int
    warm_up: int


def measure_speed(path: Path, settings: SpeedSettings = LLAMA_BENCH_DEFAULTS) -> SpeedReport:
    """Load a GGUF in this process and measure it. Raises: what `Model.load` and `model_speed` raise."""
    with Model.load(path, n_gpu_layers=settings.gpu_layers) as model:
        return model_speed(model, settings)


def model_speed(
    model: Model,
    settings: SpeedSettings = LLAMA_BENCH_DEFAULTS,
    *,
    advance: Advance = lambda tokens: None,
    seed: int = 0,
) -> SpeedReport:
    """Measure a loaded model; `advance` is told tokens as they are done, `total_tokens` in all.

    `settings.gpu_layers` has had its effect when the model was loaded.

    Raises: BadRequest where there is nothing to measure, and what `Context` raises.
    """
    _check(settings)
    rng = np.random.default_rng(seed)
    speeds, threads = [], 0
    for test in _tests(settings):
        with Context(model, _context(settings, settings.depth + test.tokens)) as context:
            samples = tuple(_samples(context, test, settings, rng, advance))
            speeds.append(Speed(test=test.name, samples=samples))
            threads = context.threads
    backend, instructions = backend_and_instructions(system_info())
    return SpeedReport(
        description=model.facts.description,
        tensor_bytes=model.facts.tensor_bytes,
        parameters=model.facts.parameters,
        backend=backend,
        threads=threads,
        build=BUILD,
        instruction_set=instructions,
        speeds=tuple(speeds),
    )


def _check(settings: SpeedSettings) -> None:
    counts = settings.prompt_tokens, settings.generated_tokens
    if min(*counts, settings.depth) < 0 or not sum(counts) or settings.repetitions < 1:
        raise BadRequest(
            f"{settings.repetitions} repetitions of {counts[0]} prompt tokens and {counts[1]} generated ones measure "
            "nothing; at least one of each count is wanted"
        )


def total_tokens(settings: SpeedSettings) -> int:
    """Tokens that `advance` is told of, warm-ups included."""
    warm_up = settings.prompt_tokens + min(1, settings.generated_tokens)
    tests = (settings.prompt_tokens > 0) + (settings.generated_tokens > 0)
    behind = tests * (settings.repetitions + 1) * settings.depth
    return warm_up + behind + settings.repetitions * (settings.prompt_tokens + settings.generated_tokens)


def _tests(settings: SpeedSettings) -> Iterator[_Test]:
    prompt, generated = settings.prompt_tokens, settings.generated_tokens
    if prompt:
        yield _Test(name=f"pp{prompt}", run=_prompt, tokens=prompt, warm_up=prompt)
    if generated:
        # A single token: the weights are in memory then, which is what matters to decoding.
        yield _Test(name=f"tg{generated}", run=_generate, tokens=generated, warm_up=1)


def _samples(
    context: Context, test: _Test, settings: SpeedSettings, rng: np.random.Generator, advance: Advance
) -> Iterator[float]:
    """Tokens per second of each repetition."""
    for repetition in range(settings.repetitions + 1):
        length = test.tokens if repetition else test.warm_up
        tokens = _random_tokens(context.model, length, rng)
        context.clear()
        if settings.depth:
            _prompt(context, _random_tokens(context.model, settings.depth, rng), 0)
            advance(settings.depth)
        start = time.perf_counter()
        test.run(context, tokens, settings.depth)
        seconds = time.perf_counter() - start
        advance(length)
        if repetition:
            yield length / seconds


def _prompt(context: Context, tokens: Tokens, depth: int) -> None:
    for start in range(0, len(tokens), context.n_batch):
        piece = tokens[start : start + context.n_batch]
        positions = np.arange(depth + start, depth + start + len(piece))
        context.decode(piece, positions, outputs=np.arange(len(piece)) == len(piece) - 1)
    context.synchronize()


def _generate(context: Context, tokens: Tokens, depth: int) -> None:
    for position in range(len(tokens)):
        context.decode(tokens[position : position + 1], depth + position)
        context.synchronize()


def _random_tokens(model: Model, count: int, rng: np.random.Generator) -> Tokens:
    tokens = rng.integers(0, model.facts.n_vocab, count, dtype=np.int32)
    if model.facts.add_bos and model.facts.bos >= 0:
        tokens[0] = model.facts.bos
    return tokens


def _context(settings: SpeedSettings, n_ctx: int) -> ContextSettings:
    return ContextSettings(
        n_ctx=n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=settings.n_ubatch,
        threads=settings.threads,
        type_k=settings.type_k,
        type_v=settings.type_v,
        flash_attention=settings.flash_attention,
    )
