"""What `run` costs over xllamacpp alone: tokens per second of the same prompt, side by side, on half a billion weights.

    python -m benchmarks.run [--model Qwen2.5-0.5B:Q4_K_M] [--rounds 5] [-p 256] [-n 64] [-t 2]

The model is synthetic. Three contenders in turns, each in a process of its own, threads and sampling alike: `raw`
(llama_decode and llama.cpp's sampler chain through ctypes and nothing else: the ceiling), `xllamacpp` (its Server's
completion, by the server's own timings), `run` (`pennyweight.jobs.run`, text and all). Target: `run` within 3 % of
xllamacpp, in reading and in writing.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.harness import record
from pennyweight.jobs.bench import named_config
from pennyweight.pipeline.synthetic import synthetic_gguf
from pennyweight.recipes.file_types import get_file_type

CONTENDERS = ("raw", "xllamacpp", "run")
SEED = 7


def prompt_tokens(count: int, vocabulary: int) -> list[int]:
    """Random ones, equal for all contenders: a synthetic model's vocabulary spells no text."""
    return np.random.default_rng(SEED).integers(300, vocabulary, count).tolist()


def raw(path: str, prompt: int, count: int, threads: int) -> dict[str, float]:
    """llama.cpp's C functions in a bare loop."""
    import time

    from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model, Sampling
    from pennyweight.runtimes.llama_cpp.sampler import Sampler

    with Model.load(path) as model, Context(model, ContextSettings(n_ctx=4096, threads=threads)) as context:
        tokens = prompt_tokens(prompt, model.facts.n_vocab)
        with Sampler(model, Sampling(temperature=0.8, seed=SEED)) as sampler:
            context.decode(tokens[:1], [0])  # warm-up, as every contender has one
            context.clear()
            started = time.perf_counter()
            context.decode(tokens, range(prompt), outputs=[i == prompt - 1 for i in range(prompt)])
            token = sampler.sample(context)
            read = time.perf_counter()
            for i in range(count - 1):
                context.decode([token], [prompt + i])
                token = sampler.sample(context)
            return {"prompt": prompt / (read - started), "decode": (count - 1) / (time.perf_counter() - read)}


def xllamacpp(path: str, prompt: int, count: int, threads: int) -> dict[str, float]:
    """xllamacpp's Server without its HTTP: its handler is called, and its own timings taken."""
    import xllamacpp as library

    params = library.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = path, 4096, 1, True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port = 0
    server = library.Server(params)
    from pennyweight.runtimes.llama_cpp import Model

    with Model.load(path, vocabulary_only=True) as model:
        tokens = prompt_tokens(prompt, model.facts.n_vocab)
    request = {
        "prompt": tokens,
        "n_predict": count,
        "temperature": 0.8,
        "seed": SEED,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    found: list[dict] = []
    server.handle_completions(
        json.dumps(request), lambda answer: found.append(json.loads(answer) if isinstance(answer, str) else answer)
    )
    timings = found[-1]["timings"]
    # Its own rate counts the first token, which the prompt gives, and no time for it: 64 tokens in the time of 63.
    steps, seconds = timings["predicted_n"] - 1, timings["predicted_ms"] / 1000
    return {"prompt": timings["prompt_per_second"], "decode": steps / seconds}


def run(path: str, prompt: int, count: int, threads: int) -> dict[str, float]:
    """The verb's job, its text printed into nothing."""
    from pennyweight.jobs.run import RunOptions, conversation
    from pennyweight.jobs.speaking import SpeakingOptions

    options = RunOptions(tokens=count, seed=SEED, ignore_eos=True, template=False)
    with conversation(path, options, SpeakingOptions(ctx=4096, threads=threads)) as talk:
        session = talk.speaker.session
        session.context.decode([0], [0])
        session.context.clear()
        tokens = np.array(prompt_tokens(prompt, talk.speaker.vocabulary.facts.n_vocab), np.int32)
        talk._prompt = lambda text: tokens  # type: ignore[method-assign]
        result = talk.say("", lambda piece: None)
    return {"prompt": result.prompt_tok_s or 0, "decode": result.decode_tok_s or 0}


def main() -> None:
    """Run in turns, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="Qwen2.5-0.5B:Q4_K_M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-p", type=int, default=256)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--only", nargs=2, metavar=("CONTENDER", "PATH"))
    args = parser.parse_args()
    if args.only:
        print(json.dumps(globals()[args.only[0]](args.only[1], args.p, args.n, args.t)))
        return
    name, _, type_name = args.model.rpartition(":")
    rounds: dict[str, list[dict[str, float]]] = {contender: [] for contender in CONTENDERS}
    with synthetic_gguf(named_config(name), Path(name).name, get_file_type(type_name)) as path:
        for _ in range(args.rounds):
            for contender in CONTENDERS:
                rounds[contender].append(_measured(contender, path, args))
    medians = {
        contender: {key: statistics.median(run[key] for run in found) for key in ("prompt", "decode")}
        for contender, found in rounds.items()
    }
    for contender, found in medians.items():
        share = {key: found[key] / medians["raw"][key] for key in found}
        print(
            f"{contender:10} prompt {found['prompt']:8.1f} t/s ({share['prompt']:.1%} of raw)  "
            f"decode {found['decode']:7.2f} t/s ({share['decode']:.1%} of raw)"
        )
    overhead = {key: 1 - medians["run"][key] / medians["xllamacpp"][key] for key in ("prompt", "decode")}
    print(f"overhead of run over xllamacpp: prompt {overhead['prompt']:+.1%}, decode {overhead['decode']:+.1%}")
    shape = {"model": args.model, "prompt": args.p, "generated": args.n, "threads": args.t, "rounds": args.rounds}
    record("run", {**shape, "seed": SEED, **medians, "overhead_over_xllamacpp": overhead})


def _measured(contender: str, path: Path, args: argparse.Namespace) -> dict[str, float]:
    shape = ["-p", str(args.p), "-n", str(args.n), "-t", str(args.t)]
    command = [sys.executable, "-m", "benchmarks.run", "--only", contender, str(path), *shape]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
