"""How long `plan` takes from the start of the process to its end, bytecode at hand: median of ten, wall and processor.

    python -m benchmarks.start [--runs 10]

The ceiling is Python itself; half a second is the target. The last line is one JSON object, kept in
`results/start.jsonl`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

from benchmarks.harness import record

TARGET_SECONDS = 0.5

QUESTIONS = {
    "python alone": None,
    "--help": ("--help",),
    "one model": ("plan", "Qwen3-8B", "--gpu", "RTX 3060 12GB"),
    "a family": ("plan", "Qwen3-14B", "Qwen3-8B", "Qwen3-4B", "--gpu", "RTX 4060 Ti 16GB", "-c", "32k"),
    "experts on the host": ("plan", "Qwen3-30B-A3B", "--gpu", "RTX 3060 12GB"),
    "nothing fits": ("plan", "Llama-3.1-70B", "--gpu", "RTX 3060 12GB"),
    "vLLM": ("plan", "Qwen3-8B", "--gpu", "RTX 4090", "--runtime", "vllm"),
    "this machine": ("plan", "Qwen3-4B"),
}

START = "from pennyweight.cli.entry import main; main()"


def once(arguments: tuple[str, ...] | None, environment: dict[str, str]) -> tuple[float, float]:
    """(wall, processor) seconds of one process."""
    code = "pass" if arguments is None else START
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *(arguments or ())], capture_output=True, check=False, env=environment)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    figures = {}
    with tempfile.TemporaryDirectory(prefix="pennyweight-") as directory:  # a store of its own: nothing measured yet
        environment = os.environ | {"PENNYWEIGHT_STORE": f"{directory}/measurements.sqlite"}
        print(f"{'':22}{'wall s':>8}{'cpu s':>8}{'of 0.5 s':>10}")
        for name, arguments in QUESTIONS.items():
            once(arguments, environment)  # bytecode, and the host's bandwidth
            pairs = [once(arguments, environment) for _ in range(runs)]
            wall, processor = (median(pair[i] for pair in pairs) for i in (0, 1))
            print(f"{name:22}{wall:8.2f}{processor:8.2f}{100 * wall / TARGET_SECONDS:9.0f}%")
            figures[name] = {"wall_seconds": wall, "processor_seconds": processor}
    record("start", {"runs": runs, "load": os.getloadavg()[0], "questions": figures})


if __name__ == "__main__":
    main()
