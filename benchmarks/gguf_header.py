"""Open a GGUF with 152k tokens and 280k merges, against the gguf package: time and memory of the header.

    python -m benchmarks.gguf_header [--runs 7]

Both open the same file in fresh processes, so that each pays for its own memory and for nothing of the other. Memory
and time (on the wall, and of the processor, which a busy machine does not stretch) are taken inside, after the imports.
The gguf package, which needs many seconds, runs once. The ceiling is reading the header's bytes. Target: 0.2 s, 50 MB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import record
from pennyweight import formats
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo

TOKENS, MERGES, LAYERS, SEED = 152_064, 280_000, 64, 3

MEASURE = """
import sys, time, json
{setup}
def status(field):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])
before = status("VmRSS")
start, cpu_start = time.perf_counter(), time.process_time()
{work}
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
extra_bytes = status("VmHWM") - before
print(json.dumps({{"seconds": seconds, "cpu_seconds": cpu_seconds, "extra_bytes": extra_bytes}}))
"""
CONTENDERS = {
    "ceiling": ("from pathlib import Path", "content = open(sys.argv[1], 'rb').read(int(sys.argv[2]))"),
    "pennyweight": ("from pennyweight.containers.gguf_reader import open_gguf", "file = open_gguf(sys.argv[1])"),
    "gguf": ("from gguf import GGUFReader", "file = GGUFReader(sys.argv[1])"),
}


def write_model(path: Path) -> int:
    """A file with a large header and tiny tensors; returns the header's bytes."""
    rng = np.random.default_rng(SEED)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzĠäößç语言"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(1, 12, TOKENS)]
    merges = [f"{words[i]} {words[j]}" for i, j in rng.integers(0, TOKENS, (MERGES, 2))]
    metadata = {
        "general.architecture": GGUFValue.scalar(ValueType.STRING, "qwen3"),
        "tokenizer.ggml.tokens": GGUFValue.array(ValueType.STRING, words),
        "tokenizer.ggml.scores": GGUFValue.array(ValueType.FLOAT32, np.zeros(TOKENS, np.float32)),
        "tokenizer.ggml.token_type": GGUFValue.array(ValueType.INT32, np.ones(TOKENS, np.int32)),
        "tokenizer.ggml.merges": GGUFValue.array(ValueType.STRING, merges),
    }
    infos = [
        TensorInfo(name=f"blk.{layer}.tensor_{i}.weight", shape=(1, 256), format=formats.Q4_K)
        for layer in range(LAYERS)
        for i in range(12)
    ]
    with GGUFWriter(path, metadata, infos) as writer:
        for info in infos:
            writer.write_rows(info.name, 0, np.zeros((info.rows, info.row_bytes), np.uint8))
    return min(tensor.offset for tensor in open_gguf(path).tensors.values())


def measure(contender: str, path: Path, header_bytes: int) -> dict[str, float]:
    """One run in a fresh process: seconds, and bytes of memory above what the imports took."""
    setup, work = CONTENDERS[contender]
    code = MEASURE.format(setup=setup, work=work)
    command = [sys.executable, "-c", code, str(path), str(header_bytes)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Run, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocabulary.gguf"
        header_bytes = write_model(path)
        results = {
            name: [measure(name, path, header_bytes) for _ in range(1 if name == "gguf" else runs)]
            for name in CONTENDERS
        }
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0]} for name, found in results.items()
    }
    for name, found in medians.items():
        share = medians["ceiling"]["seconds"] / found["seconds"]
        print(
            f"{name:12} {found['seconds']:8.3f} s  {found['cpu_seconds']:8.3f} s of the processor  "
            f"{found['extra_bytes'] / 1e6:7.1f} MB  {share:6.1%} of the ceiling"
        )
    ratio = medians["gguf"]["seconds"] / medians["pennyweight"]["seconds"]
    print(f"{ratio:.0f} times as fast as the gguf package, {header_bytes / 1e6:.1f} MB of header")
    shape = {"tokens": TOKENS, "merges": MERGES, "header_bytes": header_bytes, "seed": SEED, "runs": runs}
    record("gguf_header", {**shape, **medians, "ratio_to_gguf": ratio})


if __name__ == "__main__":
    main()
