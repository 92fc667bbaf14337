"""Perplexity, KL divergence and report of the embedded model: seconds, against what the work must cost at least.

    python -m benchmarks.perplexity [--threads 2] [--runs 5] [--kilobytes 100] [--without-torch]

* **Command**: `pennyweight perplexity embedded` on 100 kB of text in a fresh process, start-up and conversion included.
  Wanted: 20 s on two cores.
* **llama.cpp engine**: the wheel brings no llama-perplexity, so the peer is its ceiling: the plain C call
  `llama_decode` over the very batches that it would read (four chunks of 512, logits of the second halves), built
  beforehand, and nothing else. llama-perplexity does this and a soft-max, so it is no faster, and an engine within
  10 % of the ceiling is within 10 % of it.
* **PyTorch engine**: the peer is transformers' own class from `from_pretrained`, the same batches, float32, soft-max in
  PyTorch. Wanted: 80 % of its speed.
* **KL divergence**: `compare` of Q4_K_M with BF16 run beside it, against the perplexities of both. Wanted: 1.3 times.
* **Report**: all files of a seven-level sweep in a fresh process, matplotlib's start included. Wanted: 5 s.

Contenders of a group take turns; figures are medians after one run each that is not counted. The text is the embedded
survey, repeated to the length asked for: its perplexity says nothing, its time does.
"""

import argparse
import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import record
from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.core.parallel import default_threads
from pennyweight.evaluation.base import LiveBase
from pennyweight.evaluation.divergence import compare
from pennyweight.evaluation.engine import cut, targets, with_bos
from pennyweight.evaluation.perplexity import perplexity_of_chunks
from pennyweight.jobs.quantize import quantize
from pennyweight.models.embedded import EMBEDDED, SURVEY
from pennyweight.runtimes.llama_cpp import LlamaCppLogits, Model
from pennyweight.runtimes.llama_cpp.shared_object import library
from pennyweight.runtimes.llama_cpp.structs import Batch

N_CTX, ABREAST = 512, 4
SECONDS_WANTED, ENGINE_WANTED, TORCH_WANTED, DIVERGENCE_WANTED, REPORT_WANTED = 20.0, 1 / 1.1, 0.8, 1.3, 5.0
COMMAND = "from pennyweight.cli.main import main; main()"
REPORT = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from pennyweight.report.files import write_report
from tests.report.cases import sweep_case
write_report(sweep_case(texts=True), Path(sys.argv[1]))
print(time.perf_counter() - start)
"""

Work = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is asked for, and the models on disk."""

    threads: int
    runs: int
    text: Path
    base: Path
    model: Path


def seconds(work: Work) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(runs: int, **contenders: Work) -> dict[str, float]:
    """Median seconds of each, taken in turns, after one uncounted run of each."""
    for work in contenders.values():
        work()
    times = [{name: seconds(work) for name, work in contenders.items()} for _ in range(runs)]
    return {name: statistics.median(turn[name] for turn in times) for name in contenders}


def plain_batches(chunks: NDArray[np.int32]) -> list[tuple[Batch, list[Any]]]:
    """llama-perplexity's batches of int32 (chunks, n_ctx), ready for `llama_decode`, with what keeps them alive."""
    integers, bytes_ = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
    built = []
    for start in range(0, len(chunks), ABREAST):
        group = chunks[start : start + ABREAST]
        owners, places = (np.ascontiguousarray(part.ravel(), np.int32) for part in np.indices(group.shape))
        tokens, single = np.ascontiguousarray(group.ravel(), np.int32), np.ones(group.size, np.int32)
        wanted = ((places >= N_CTX // 2) & (places < N_CTX - 1)).astype(np.int8)
        pointers = (owners.ctypes.data + 4 * np.arange(group.size)).astype(np.uintp)
        batch = Batch(
            n_tokens=group.size,
            token=tokens.ctypes.data_as(integers),
            pos=places.ctypes.data_as(integers),
            n_seq_id=single.ctypes.data_as(integers),
            seq_id=pointers.ctypes.data_as(ctypes.POINTER(integers)),
            logits=wanted.ctypes.data_as(bytes_),
        )
        built.append((batch, [owners, places, tokens, single, wanted, pointers]))
    return built


def decode_alone(engine: LlamaCppLogits, batches: list[tuple[Batch, list[Any]]]) -> None:
    """Nothing but the C calls."""
    handle, lib = engine.context.handle, library()
    for batch, _ in batches:
        lib.llama_memory_clear(lib.llama_get_memory(handle), True)
        if lib.llama_decode(handle, batch):
            raise RuntimeError("llama_decode refused the benchmark's batch")
        lib.llama_synchronize(handle)


@contextmanager
def llama_cpp(path: Path, threads: int) -> Iterator[LlamaCppLogits]:
    """A GGUF, ready to score."""
    with Model.load(path, n_gpu_layers=0) as model, LlamaCppLogits(model, n_ctx=N_CTX, threads=threads) as engine:
        yield engine


def time_command(setting: Setting) -> dict[str, float]:
    """The whole command in fresh processes."""
    arguments = ["perplexity", "embedded", "--text", str(setting.text), "-t", str(setting.threads), "--json"]
    environment_store = str(setting.text.with_name("store.sqlite"))
    command = ["env", f"PENNYWEIGHT_STORE={environment_store}", sys.executable, "-c", COMMAND, *arguments]
    return in_turns(setting.runs, command=lambda: subprocess.run(command, check=True, capture_output=True))


def time_engine(setting: Setting) -> dict[str, float]:
    """Soft-max and our wrapping, against `llama_decode` alone."""
    with llama_cpp(setting.model, setting.threads) as engine:
        chunks = cut(engine.tokenize(setting.text.read_bytes()), N_CTX)
        batches = plain_batches(with_bos(chunks, engine.bos))
        found = in_turns(
            setting.runs,
            ceiling=lambda: decode_alone(engine, batches),
            pennyweight=lambda: perplexity_of_chunks(engine, chunks, setting.threads),
        )
    return {"chunks": float(len(chunks)), **found}


def time_divergence(setting: Setting) -> dict[str, float]:
    """KL divergence of two live models, against their perplexities."""
    threads = setting.threads
    with llama_cpp(setting.base, threads) as base, llama_cpp(setting.model, threads) as model:
        chunks = cut(base.tokenize(setting.text.read_bytes()), N_CTX)
        return in_turns(
            setting.runs,
            base=lambda: perplexity_of_chunks(base, chunks, threads),
            model=lambda: perplexity_of_chunks(model, chunks, threads),
            compare=lambda: compare(LiveBase(base, chunks), model, threads=threads),
        )


def time_torch(setting: Setting) -> dict[str, float]:
    """The reference engine, against transformers' class by itself; weights are in memory for both."""
    import torch
    from transformers import AutoModelForCausalLM

    from pennyweight.runtimes.torch_reference import TorchLogits, TorchSettings

    settings = TorchSettings(n_ctx=N_CTX, abreast=ABREAST, device="cpu", blockwise=False, threads=setting.threads)
    plain = AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()

    def transformers_alone(chunks: NDArray[np.int32], bos: int | None) -> float:
        read, total = torch.from_numpy(with_bos(chunks, bos).astype(np.int64)), 0.0
        with torch.inference_mode():
            for start in range(0, len(read), ABREAST):
                group = read[start : start + ABREAST]
                logits = plain(group, use_cache=False).logits[:, N_CTX // 2 : -1]
                wanted = group[:, N_CTX // 2 + 1 :]
                total += torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), wanted.flatten(), reduction="sum"
                ).item()
        return total / targets(chunks).size

    with TorchLogits(open_checkpoint("embedded"), settings) as engine:
        chunks = cut(engine.tokenize(setting.text.read_bytes()), N_CTX)
        theirs, ours = transformers_alone(chunks, engine.bos), perplexity_of_chunks(engine, chunks).perplexity
        if abs(np.exp(theirs) / ours - 1) > 1e-4:
            raise RuntimeError(f"not the same work: perplexities {np.exp(theirs)} and {ours}")
        return in_turns(
            setting.runs,
            peer=lambda: transformers_alone(chunks, engine.bos),
            pennyweight=lambda: perplexity_of_chunks(engine, chunks, setting.threads),
        )


def time_report(directory: Path, runs: int) -> dict[str, float]:
    """Files of a report written in fresh processes, whose own clocks leave out the start of Python alone."""
    command = [sys.executable, "-c", REPORT, str(directory)]
    times = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(runs + 1)]
    return {"report": statistics.median(times[1:])}


def show(what: str, took: float, ratio: float, wanted: str) -> None:
    """One line of the table."""
    print(f"{what:34} {took:8.3f} s   {ratio:6.3f}   {wanted}")


def main() -> None:
    """Run, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--without-torch", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        setting = Setting(
            threads=asked.threads,
            runs=asked.runs,
            text=directory / "text.txt",
            base=directory / "BF16.gguf",
            model=directory / "Q4_K_M.gguf",
        )
        survey = SURVEY.read_bytes()
        size = 1000 * asked.kilobytes
        setting.text.write_bytes((survey * (size // len(survey) + 1))[:size])
        quantize("embedded", "BF16", setting.base)
        quantize("embedded", "Q4_K_M", setting.model)
        figures: dict[str, Any] = {
            "command": time_command(setting),
            "llama.cpp": time_engine(setting),
            "divergence": time_divergence(setting),
            "report": time_report(directory, setting.runs),
        }
        if not asked.without_torch:
            figures["torch"] = time_torch(setting)
    ratios = ratios_of(figures)
    report(figures, ratios, asked.kilobytes)
    kept = {key: getattr(asked, key) for key in ("threads", "runs", "kilobytes")}
    record("perplexity", {**kept, "n_ctx": N_CTX, "text": "the embedded survey, repeated", **figures, "ratios": ratios})


def ratios_of(figures: dict[str, Any]) -> dict[str, float]:
    """What is held against the targets."""
    engine, divergence = figures["llama.cpp"], figures["divergence"]
    found = {
        "command": figures["command"]["command"] / SECONDS_WANTED,
        "llama.cpp": engine["ceiling"] / engine["pennyweight"],
        "divergence": divergence["compare"] / (divergence["base"] + divergence["model"]),
        "report": figures["report"]["report"] / REPORT_WANTED,
    }
    if "torch" in figures:
        found["torch"] = figures["torch"]["peer"] / figures["torch"]["pennyweight"]
    return found


def report(figures: dict[str, Any], ratios: dict[str, float], kilobytes: int) -> None:
    """The table: ceilings and peers first."""
    engine = figures["llama.cpp"]
    show("llama_decode alone (ceiling)", engine["ceiling"], 1.0, "")
    show(
        "llama.cpp engine", engine["pennyweight"], ratios["llama.cpp"], f"of the ceiling; at least {ENGINE_WANTED:.2f}"
    )
    if "torch" in figures:
        show("transformers alone (peer)", figures["torch"]["peer"], 1.0, "")
        took = figures["torch"]["pennyweight"]
        show("torch engine", took, ratios["torch"], f"of the peer's speed; at least {TORCH_WANTED}")
    took = figures["divergence"]["compare"]
    show("KL divergence", took, ratios["divergence"], f"times both perplexities; at most {DIVERGENCE_WANTED}")
    took = figures["command"]["command"]
    show(f"command, {kilobytes} kB", took, ratios["command"], f"of {SECONDS_WANTED:.0f} s; at most 1")
    show("report", figures["report"]["report"], ratios["report"], f"of {REPORT_WANTED:.0f} s; at most 1")


if __name__ == "__main__":
    main()
