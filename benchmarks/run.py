"""What `run` costs over xllamacpp alone: tokens per second of the same prompt, side by side, on half a billion weights.

    python -m benchmarks.run [--model Qwen2.5-0.5B:Q4_K_M] [--turns 15] [-p 128] [-n 32] [-t 2]

The model is synthetic. Three contenders, loaded once, take turns; threads and sampling are alike: `raw` (llama_decode
and llama.cpp's sampler chain through ctypes and nothing else: the ceiling), `xllamacpp` (its Server's completion, by
its own clock), `run` (`pennyweight.jobs.run`, text and all). Ratios are those of one turn, so that a machine that slows
does so for all three. Target: `run` within 3 % of xllamacpp, in reading and in writing.

Beside the ratios, which need many turns on a machine that other work disturbs, stands what `run` cannot share with the
others: the part of its turns that is spent outside llama.cpp's own functions, by one clock, from the text that is given
to the text that is returned.

llama.cpp's server divides all tokens by the time of all but the first; here all but the first are divided by it.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import record
from pennyweight.jobs.bench import named_config
from pennyweight.jobs.run import RunOptions, conversation
from pennyweight.jobs.speaking import SpeakingOptions
from pennyweight.pipeline.synthetic import synthetic_gguf
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, Sampling
from pennyweight.runtimes.llama_cpp.sampler import Sampler
from pennyweight.runtimes.llama_cpp.session import Clock
from pennyweight.runtimes.llama_cpp.shared_object import library

N_CTX, SEED, TEMPERATURE, WANTED = 4096, 7, 0.8, 0.03
PHASES = ("prompt", "decode")
COMPUTES = ("llama_decode", "llama_synchronize", "llama_sampler_sample")
"""What llama.cpp itself does in a turn, whoever calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every contender does in a turn: int32 (tokens,) to read, how many to write, on how many threads."""

    prompt: NDArray[np.int32]
    count: int
    threads: int


Turn = Callable[[], tuple[float, float]]
"""Once through the work: tokens per second of the prompt, and of the tokens after the first."""


@contextmanager
def raw(path: Path, work: Work) -> Iterator[Turn]:
    """llama.cpp's C functions in a bare loop."""
    settings = ContextSettings(n_ctx=N_CTX, threads=work.threads)
    sampling = Sampling(temperature=TEMPERATURE, seed=SEED)
    with (
        Model.load(path) as model,
        Context(model, settings) as context,
        Sampler(model, sampling) as sampler,
    ):

        def turn() -> tuple[float, float]:
            context.clear()
            size, started = len(work.prompt), perf_counter()
            context.decode(work.prompt, range(size), outputs=np.arange(size) == size - 1)
            token, read = sampler.sample(context), perf_counter()
            for position in range(size, size + work.count - 1):
                context.decode([token], [position])
                token = sampler.sample(context)
            return size / (read - started), (work.count - 1) / (perf_counter() - read)

        yield turn


@contextmanager
def xllamacpp(path: Path, work: Work) -> Iterator[Turn]:
    """xllamacpp's Server without its HTTP: its handler is called, and its own timings taken."""
    import xllamacpp as library

    params = library.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(path), N_CTX, 1, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = work.threads
    params.port = 0
    server = library.Server(params)
    sampling = {"temperature": TEMPERATURE, "seed": SEED, "ignore_eos": True}
    request = json.dumps({"prompt": work.prompt.tolist(), "n_predict": work.count, "cache_prompt": False, **sampling})

    def turn() -> tuple[float, float]:
        found: list[Any] = []
        server.handle_completions(request, found.append)
        answer = json.loads(found[-1]) if isinstance(found[-1], str) else found[-1]
        times = answer["timings"]
        return times["prompt_per_second"], 1e3 * (times["predicted_n"] - 1) / times["predicted_ms"]

    yield turn


@contextmanager
def run(path: Path, work: Work) -> Iterator[Turn]:
    """The verb's job, its text printed into nothing."""
    options = RunOptions(tokens=work.count, seed=SEED, ignore_eos=True, template=False)
    with conversation(str(path), options, SpeakingOptions(ctx=N_CTX, threads=work.threads)) as talk:
        talk._prompt = lambda text: work.prompt  # type: ignore[method-assign]

        def turn() -> tuple[float, float]:
            talk.speaker.session.read([0], Clock())  # nothing of the prompt is in the cache
            result = talk.say("", lambda piece: None)
            return result.prompt_tok_s or 0, result.decode_tok_s or 0

        yield turn


class Outside:
    """What part of a call's time is not spent in `COMPUTES`; its own clock counts as outside."""

    def __init__(self) -> None:
        self._inside = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The functions of `COMPUTES`, timed."""
        functions = {name: getattr(library(), name) for name in COMPUTES}
        try:
            for name, function in functions.items():
                setattr(library(), name, self._timed(function))
            yield
        finally:
            for name, function in functions.items():
                setattr(library(), name, function)

    def share(self, turn: Turn) -> float:
        """Run it; seconds outside ÷ seconds in all."""
        self._inside, started = 0.0, perf_counter()
        turn()
        return 1 - self._inside / (perf_counter() - started)

    def _timed(self, function: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            started = perf_counter()
            try:
                return function(*arguments)
            finally:
                self._inside += perf_counter() - started

        return call


def outside_share(path: Path, work: Work, turns: int) -> float:
    """The median over turns of `run` after one that is not counted."""
    outside = Outside()
    with run(path, work) as turn, outside.watched():
        return statistics.median([outside.share(turn) for _ in range(turns + 1)][1:])


CONTENDERS = {"raw": raw, "xllamacpp": xllamacpp, "run": run}


def take_turns(path: Path, work: Work, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Every contender `turns` times, after once that is not counted; who begins changes from turn to turn."""
    with ExitStack() as stack:
        ready = {name: stack.enter_context(make(path, work)) for name, make in CONTENDERS.items()}
        names = list(ready)
        for name in names:
            ready[name]()
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(turns):
            for name in names[number % 3 :] + names[: number % 3]:
                found[name].append(ready[name]())
    return found


def overhead(ours: list[tuple[float, float]], theirs: list[tuple[float, float]], phase: int) -> dict[str, float]:
    """1 − our speed ÷ theirs, turn by turn: the median, and the standard error of the mean."""
    parts = [1 - our[phase] / their[phase] for our, their in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(parts), "stderr": statistics.stdev(parts) / sqrt(len(parts))}


def main() -> None:
    """Run in turns, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen2.5-0.5B:Q4_K_M")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("-p", type=int, default=128)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("-t", type=int, default=2)
    args = parser.parse_args()
    name, _, type_name = args.model.rpartition(":")
    config = named_config(name)
    # Random tokens, equal for all: a synthetic model's vocabulary spells no text.
    prompt = np.random.default_rng(SEED).integers(300, config.vocabulary_size, args.p).astype(np.int32)
    with synthetic_gguf(config, Path(name).name, get_file_type(type_name)) as path:
        work = Work(prompt=prompt, count=args.n, threads=args.t)
        found, outside = take_turns(path, work, args.turns), outside_share(path, work, min(5, args.turns))
    speeds = {
        contender: dict(zip(PHASES, map(statistics.median, zip(*turns, strict=True)), strict=True))
        for contender, turns in found.items()
    }
    for contender, speed in speeds.items():
        print(f"{contender:10} prompt {speed['prompt']:8.1f} t/s  decode {speed['decode']:7.2f} t/s")
    costs = {
        f"over {rival}": {phase: overhead(found["run"], found[rival], i) for i, phase in enumerate(PHASES)}
        for rival in ("xllamacpp", "raw")
    }
    for rival, phases in costs.items():
        shown = ", ".join(f"{phase} {cost['median']:+.1%} ± {cost['stderr']:.1%}" for phase, cost in phases.items())
        print(f"run {rival}: {shown}; at most {WANTED:.0%} is wanted over xllamacpp")
    print(f"outside llama.cpp: {outside:.2%} of a turn of run")
    shape = {"model": args.model, "prompt": args.p, "generated": args.n, "threads": args.t, "turns": args.turns}
    record("run", {**shape, "seed": SEED, "tokens_per_second": speeds, "overhead": costs, "outside": outside})


if __name__ == "__main__":
    main()
