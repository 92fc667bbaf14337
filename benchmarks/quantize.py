"""The whole `quantize` command on a large file, start-up, reading and writing included, against ggml's encoders alone.

    python -m benchmarks.quantize [--types Q4_K_M IQ4_XS …] [--imatrix] [--gigabytes 0.8] [--directory DIR]

The ceiling is a plain copy of the input file. The peer is `ggml_quantize_chunk` on the same tensors and formats with
the same number of threads, from float32 that lies ready in memory: it neither starts up nor reads nor writes. A ratio
above 1 means that the whole command here is faster than ggml's arithmetic by itself. Peak memory is the command's own,
as the system accounts it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.harness import hardware, record
from pennyweight import formats
from pennyweight.checkpoints.gguf import open_gguf_checkpoint
from pennyweight.checkpoints.imatrix import Imatrix, ImatrixEntry, write_imatrix
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.parallel import default_threads
from tests.oracle import ggml_encode

TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_S", "Q2_K", "Q4_0")
HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 2048, 8192, 32, 8, 8192
LAYER_BYTES = 2 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN * KV_HEADS // HEADS + 3 * HIDDEN * FEED_FORWARD)
COMMAND = (sys.executable, "-c", "from pennyweight.cli.main import main; main()")


def write_model(path: Path, gigabytes: float) -> None:
    """An F16 llama of about `gigabytes` with heavy-tailed random weights (Student t, 5 degrees of freedom)."""
    layers = max(1, round(gigabytes * 1e9 / LAYER_BYTES))
    kv = HIDDEN * KV_HEADS // HEADS
    shapes = {"token_embd.weight": (VOCABULARY, HIDDEN), "output.weight": (VOCABULARY, HIDDEN)}
    for i in range(layers):
        shapes |= {
            f"blk.{i}.attn_q.weight": (HIDDEN, HIDDEN),
            f"blk.{i}.attn_k.weight": (kv, HIDDEN),
            f"blk.{i}.attn_v.weight": (kv, HIDDEN),
            f"blk.{i}.attn_output.weight": (HIDDEN, HIDDEN),
            f"blk.{i}.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{i}.ffn_up.weight": (FEED_FORWARD, HIDDEN),
            f"blk.{i}.ffn_down.weight": (HIDDEN, FEED_FORWARD),
        }
    f16 = formats.get("F16")
    pool = (np.random.default_rng(5).standard_t(5, 1 << 22) * 0.02).astype(np.float16)
    counts = {
        "context_length": 4096,
        "embedding_length": HIDDEN,
        "block_count": layers,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
    }
    metadata = {"general.architecture": GGUFValue.scalar(ValueType.STRING, "llama")}
    metadata |= {f"llama.{key}": GGUFValue.scalar(ValueType.UINT32, value) for key, value in counts.items()}
    infos = [TensorInfo(name=name, shape=shape, format=f16) for name, shape in shapes.items()]
    with GGUFWriter(path, metadata, infos) as writer:
        for number, (name, shape) in enumerate(shapes.items()):
            values = np.resize(np.roll(pool, 7919 * number), shape)
            writer.write_rows(name, 0, values.view(np.uint8))


def random_imatrix(model: Path, path: Path) -> Imatrix:
    """Log-normal importances for every block tensor of `model`, written to `path`."""
    rng = np.random.default_rng(9)
    entries = {
        t.name: ImatrixEntry(
            sums=np.exp(rng.standard_normal((1, t.columns)) * 2).astype(np.float32), counts=np.ones(1, np.float32)
        )
        for t in open_gguf_checkpoint(model).tensors
        if t.name.startswith("blk.")
    }
    imatrix = Imatrix(entries=entries, datasets=("random",), chunk_count=1, chunk_size=512, source=str(path))
    write_imatrix(imatrix, path)
    return imatrix


def ggml_seconds(model: Path, chosen: dict[str, str], imatrix: Imatrix | None, threads: int) -> float:
    """Seconds that ggml's encoders take for the model's tensors in the formats `chosen`, one tensor after another."""
    total = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for tensor in open_gguf_checkpoint(model).tensors:
            rows = tensor.read_rows(0, tensor.rows)
            pieces = np.array_split(rows, threads * 4)
            ggml_type = formats.get(chosen[tensor.name]).ggml_type
            entry = imatrix.entries.get(tensor.name) if imatrix else None
            importance = entry.mean()[0] if entry else None
            started = time.perf_counter()
            list(pool.map(lambda piece, t=ggml_type, i=importance: ggml_encode(t, piece, i), pieces))
            total += time.perf_counter() - started
    return total


def run_command(model: Path, type: str, output: Path, threads: int, imatrix: Path | None) -> tuple[float, dict, int]:
    """Run `pennyweight quantize` in a process of its own: wall seconds, its JSON result, its peak memory in bytes."""
    arguments = ["quantize", str(model), type, "-o", str(output), "-t", str(threads), "--json"]
    if imatrix:
        arguments += ["--imatrix", str(imatrix)]
    started = time.perf_counter()
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"quantize failed for {type}")
    return time.perf_counter() - started, json.loads(text), usage.ru_maxrss * 1024


def copy_seconds(model: Path, directory: Path) -> float:
    """The ceiling: a copy of the input file, synced."""
    started = time.perf_counter()
    with open(shutil.copyfile(model, directory / "copy"), "rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    (directory / "copy").unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--gigabytes", type=float, default=0.8)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--imatrix", action="store_true", help="with an importance matrix")
    parser.add_argument("--no-peer", action="store_true", help="leave ggml out (for large files)")
    parser.add_argument(
        "--directory", type=Path, default=None, help="where the files go; default: the system's temporary"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory, model = Path(name), Path(name) / "model-F16.gguf"
        write_model(model, arguments.gigabytes)
        imatrix_path = directory / "imatrix.gguf" if arguments.imatrix else None
        imatrix = random_imatrix(model, imatrix_path) if imatrix_path else None
        copy = float(np.median([copy_seconds(model, directory) for _ in range(3)]))
        print(f"{hardware()}; {arguments.threads} threads; input {model.stat().st_size / 1e9:.2f} GB")
        print(f"ceiling: copy of the input, synced: {copy:.2f} s")
        print(f"{'type':8} {'seconds':>8} {'M weights/s':>12} {'ggml alone':>11} {'ratio':>6} {'peak MiB':>9}")
        rows = []
        for type in arguments.types:
            output = directory / "out.gguf"
            runs = [run_command(model, type, output, arguments.threads, imatrix_path) for _ in range(arguments.repeats)]
            seconds, result = float(np.median([run[0] for run in runs])), runs[0][1]
            peer = None if arguments.no_peer else ggml_seconds(model, result["tensors"], imatrix, arguments.threads)
            row = {
                "type": type,
                "seconds": seconds,
                "weights_per_second": result["weights"] / seconds,
                "ggml_seconds": peer,
                "ratio": peer and peer / seconds,
                "peak_bytes": max(run[2] for run in runs),
            }
            rows.append(row)
            shown = (f"{peer:10.2f}s", f"{peer / seconds:6.1f}") if peer else ("-", "-")
            print(
                f"{type:8} {seconds:8.2f} {row['weights_per_second'] / 1e6:12.0f} {shown[0]:>11} {shown[1]:>6} "
                f"{row['peak_bytes'] / 2**20:9.0f}"
            )
        record(
            "quantize", {"copy_seconds": copy, "imatrix": arguments.imatrix, "threads": arguments.threads, "rows": rows}
        )


if __name__ == "__main__":
    main()
