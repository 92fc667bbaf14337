"""Speed does not depend on what the weights say: the embedded model against a synthetic one of its shapes and formats.

    python -m benchmarks.synthetic [--type Q4_K_M] [--threads 2] [--turns 7] [--write Qwen3-0.6B:Q4_K_M]

Both are loaded once and measured by llama-bench's protocol in turns, so that a machine that slows does so for both.
Wanted: the mean of the paired ratios is 1 within two of its standard errors. Then the rate at which a
synthetic model is written, against a plain write and sync of as many bytes; wanted: 500 MB/s.
"""

import argparse
import os
import statistics
import tempfile
import time
from math import sqrt
from pathlib import Path
from typing import Any

from benchmarks.harness import record
from pennyweight.core.parallel import default_threads
from pennyweight.core.units import MIB
from pennyweight.evaluation.throughput import model_speed
from pennyweight.jobs.bench import named_config
from pennyweight.jobs.quantize import quantize
from pennyweight.pipeline.synthetic import write_synthetic
from pennyweight.recipes.file_types import get_file_type
from pennyweight.runtimes.llama_cpp import Model
from pennyweight.runtimes.speed import SpeedSettings

WANTED_MEGABYTES = 500


def compare_speeds(directory: Path, type: str, threads: int, turns: int) -> dict[str, dict[str, Any]]:
    """Tokens per second of the real and the synthetic model, and their paired ratio, for each test."""
    real, synthetic = directory / "real.gguf", directory / "synthetic.gguf"
    quantize("embedded", type, real)
    write_synthetic(synthetic, named_config("embedded"), "embedded", get_file_type(type))
    settings = SpeedSettings(repetitions=1, threads=threads, gpu_layers=0)
    found: dict[str, list[tuple[float, float]]] = {}
    with Model.load(real, n_gpu_layers=0) as one, Model.load(synthetic, n_gpu_layers=0) as other:
        if one.facts.tensor_bytes != other.facts.tensor_bytes:
            raise RuntimeError(f"not the same formats: {one.facts.tensor_bytes} and {other.facts.tensor_bytes} bytes")
        for turn in range(turns):
            order = (one, other) if turn % 2 else (other, one)
            speeds = {model: model_speed(model, settings, seed=turn).speeds for model in order}
            for ours, theirs in zip(speeds[one], speeds[other], strict=True):
                found.setdefault(ours.test, []).append((ours.mean, theirs.mean))
    return {test: _figures(pairs) for test, pairs in found.items()}


def _figures(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ratios = [synthetic / real for real, synthetic in pairs]
    return {
        "real": statistics.median(real for real, _ in pairs),
        "synthetic": statistics.median(synthetic for _, synthetic in pairs),
        "ratio": statistics.fmean(ratios),
        "ratio_stderr": statistics.stdev(ratios) / sqrt(len(ratios)),
    }


def time_writing(directory: Path, model: str) -> dict[str, float]:
    """Bytes per second of a plain write and sync, and of `write_synthetic`, which syncs too."""
    name, _, type = model.rpartition(":")
    path = directory / "written.gguf"
    write_synthetic(path, named_config(name), name, get_file_type(type))  # compiles its encoders
    path.unlink()
    start = time.perf_counter()
    size = write_synthetic(path, named_config(name), name, get_file_type(type))
    took = time.perf_counter() - start
    path.unlink()
    return {"bytes": size, "plain": size / _plain_seconds(path, size), "synthetic": size / took}


def _plain_seconds(path: Path, size: int) -> float:
    block = os.urandom(16 * MIB)
    start = time.perf_counter()
    with path.open("wb") as file:
        for done in range(0, size, len(block)):
            file.write(block[: size - done])
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def main() -> None:
    """Run, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--type", default="Q4_K_M")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--write", default="Qwen3-0.6B:Q4_K_M")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        writing = time_writing(Path(name), asked.write)
        speeds = compare_speeds(Path(name), asked.type, asked.threads, asked.turns)
    share = writing["synthetic"] / writing["plain"]
    print(f"plain write and sync (ceiling)     {writing['plain'] / 1e6:9.0f} MB/s")
    print(f"synthetic {asked.write:24} {writing['synthetic'] / 1e6:9.0f} MB/s, {share:.0%}; wanted {WANTED_MEGABYTES}")
    for test, found in speeds.items():
        within = abs(found["ratio"] - 1) <= 2 * found["ratio_stderr"]
        print(
            f"{test:6} real {found['real']:9.1f}, synthetic {found['synthetic']:9.1f} tokens/s, ratio "
            f"{found['ratio']:.3f} ± {found['ratio_stderr']:.3f}: {'within noise' if within else 'NOT within noise'}"
        )
    kept = {key: getattr(asked, key) for key in ("type", "threads", "turns", "write")}
    record("synthetic", {**kept, "seed": 0, "writing": writing, "speeds": speeds})


if __name__ == "__main__":
    main()
