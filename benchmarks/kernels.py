"""Kernels against their peers, in one run: encoding against ggml's own routine, decoding against the gguf package.

    python -m benchmarks.kernels [--formats Q4_K Q6_K …] [--threads N] [--rows N] [--repeats N] [--first-use]

The ceiling is a memory copy of the float32 side, with as many threads. Rows of 4096 columns, Student t with 4 degrees
of freedom; importance log-normal. Ours and the peer take turns, so that a busy machine slows both; each figure is a
median, after one call to warm up. `--first-use` times instead, in new processes, what the first call of each format
costs: when everything has to be compiled, and when it lies in the cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from benchmarks.harness import hardware, record
from pennyweight import formats, kernels
from pennyweight.core.parallel import each_in_threads
from pennyweight.formats.base import BlockFormat
from tests.oracle import ggml_encode

COLUMNS, SEED = 4096, 1
WITH_PEER = tuple(name for name in kernels.COMPILED if formats.get(name).ggml_type is not None)
"""FP8 is not in GGUF, so that neither peer knows it."""

Work = Callable[[slice], None]
"""One side's work on a slab of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Millions of weights a second: ours, the peer's, and a plain copy of the float32 numbers."""

    ours: float
    peer: float
    copy: float

    @property
    def ratio(self) -> float:
        """How many times the peer's rate."""
        return self.ours / self.peer


def in_slabs(work: Work, rows: int, threads: int) -> None:
    """One slab of rows for each thread."""
    edges = np.linspace(0, rows, threads + 1).astype(int)
    each_in_threads(work, [slice(a, b) for a, b in pairwise(edges)], threads)


def measure(ours: Work, peer: Work, copy: Work, rows: int, threads: int, repeats: int) -> Rates:
    """Medians over `repeats` turns of all three, after one turn that does not count."""
    seconds: list[list[float]] = [[], [], []]
    for _ in range(repeats + 1):
        for work, taken in zip((ours, peer, copy), seconds, strict=True):
            start = time.perf_counter()
            in_slabs(work, rows, threads)
            taken.append(time.perf_counter() - start)
    rates = (rows * COLUMNS / 1e6 / statistics.median(taken[1:]) for taken in seconds)
    return Rates(**dict(zip(("ours", "peer", "copy"), rates, strict=True)))


def encode_rates(format: BlockFormat, weighted: bool, rows: int, threads: int, repeats: int) -> Rates:
    """Encode rates; the bytes of both sides are compared on the way."""
    rng = np.random.default_rng(SEED)
    weights = rng.standard_t(4, (rows, COLUMNS)).astype(np.float32)
    importance = np.exp(rng.standard_normal(COLUMNS) * 2).astype(np.float32) if weighted else None
    out = np.empty((rows, format.row_bytes(COLUMNS)), np.uint8)
    theirs, target = np.empty_like(out), np.empty_like(weights)

    def ours(slab: slice) -> None:
        kernels.encode(format, weights[slab], importance, out[slab])

    def peer(slab: slice) -> None:
        theirs[slab] = ggml_encode(ggml_type(format), weights[slab], importance)

    rates = measure(ours, peer, partial(copy_slab, target, weights), rows, threads, repeats)
    if not np.array_equal(out, theirs):
        raise SystemExit(f"{format.name}: {np.count_nonzero(out != theirs)} bytes differ from ggml's")
    return rates


def decode_rates(format: BlockFormat, rows: int, threads: int, repeats: int) -> Rates:
    """Decode rates; the numbers of both sides are compared on the way."""
    weights = np.random.default_rng(SEED).standard_t(4, (rows, COLUMNS)).astype(np.float32)
    data = kernels.encode(format, weights)
    out, theirs, target = (np.empty_like(weights) for _ in range(3))
    name = GGMLQuantizationType(ggml_type(format))

    def ours(slab: slice) -> None:
        kernels.decode(format, data[slab], out[slab])

    def peer(slab: slice) -> None:
        theirs[slab] = dequantize(data[slab], name)

    rates = measure(ours, peer, partial(copy_slab, target, weights), rows, threads, repeats)
    if not np.array_equal(out, theirs):
        raise SystemExit(f"{format.name}: {np.count_nonzero(out != theirs)} numbers differ from the gguf package's")
    return rates


def ggml_type(format: BlockFormat) -> int:
    """The id that both peers know the format by."""
    if format.ggml_type is None:
        raise SystemExit(f"{format.name} is not in GGUF, so that it has no peer")
    return format.ggml_type


def copy_slab(target: NDArray[np.float32], source: NDArray[np.float32], slab: slice) -> None:
    np.copyto(target[slab], source[slab])


FIRST_USE = """
import sys, time; start = time.perf_counter()
import numpy as np; from pennyweight import formats, kernels
format = formats.get(sys.argv[1]); rows = np.zeros((16, 256), np.float32)
kernels.encode(format, rows, np.ones(256, np.float32))
kernels.decode(format, kernels.encode(format, rows))
print(time.perf_counter() - start)
"""


def first_use_seconds(names: list[str]) -> dict[str, tuple[float, float]]:
    """Seconds of the first encode, encode with importance and decode in a new process: compiled, and from the cache."""
    found: dict[str, tuple[float, float]] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"NUMBA_CACHE_DIR": cache}
            command = [sys.executable, "-c", FIRST_USE, name]
            run = partial(subprocess.run, command, env=environment, check=True, capture_output=True, text=True)
            found[name] = (float(run().stdout), float(run().stdout))
        print(f"{name:8}  compiled {found[name][0]:6.2f} s   from the cache {found[name][1]:6.2f} s")
    return found


def print_line(name: str, job: str, peer: str, rates: Rates) -> None:
    share = 100 * rates.ours / rates.copy
    numbers = f"{rates.ours:8.0f}  {rates.peer:8.1f} {peer:4}  {rates.ratio:6.1f} x  {share:5.1f} % of copy"
    print(f"{name:8} {job:16} {numbers}", flush=True)


def all_rates(names: list[str], rows: int, threads: int, repeats: int) -> dict[str, dict[str, float]]:
    """Every measurement of the named formats, printed as they come: {"Q4_K encode": {"ours": …, "peer": …}}."""
    found: dict[str, dict[str, float]] = {}

    def keep(format: BlockFormat, job: str, peer: str, rates: Rates) -> None:
        print_line(format.name, job, peer, rates)
        figures = {"ours": rates.ours, "peer": rates.peer, "ratio": rates.ratio, "copy": rates.copy}
        found[f"{format.name} {job}"] = {key: round(value, 2) for key, value in figures.items()}

    for format in map(formats.get, names):
        keep(format, "encode", "ggml", encode_rates(format, False, rows, threads, repeats))
        if format.uses_importance:
            keep(format, "encode weighted", "ggml", encode_rates(format, True, rows, threads, repeats))
        keep(format, "decode", "gguf", decode_rates(format, rows, threads, repeats))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", default=list(WITH_PEER), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--first-use", action="store_true")
    args = parser.parse_args()
    print(hardware())
    if args.first_use:
        seconds = first_use_seconds(args.formats)
        record(
            "kernels-first-use", {"seconds": {name: {"compiled": a, "cached": b} for name, (a, b) in seconds.items()}}
        )
        return
    print(f"{'format':8} {'job':16} {'ours':>8}  {'peer':>8}        ratio   (millions of weights a second)")
    rates = all_rates(args.formats, args.rows, args.threads, args.repeats)
    config = {"rows": args.rows, "columns": COLUMNS, "threads": args.threads, "repeats": args.repeats, "seed": SEED}
    record("kernels", {"unit": "million weights per second", "config": config, "rates": rates})


if __name__ == "__main__":
    main()
