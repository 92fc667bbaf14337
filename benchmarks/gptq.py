"""GPTQ of one layer with a given Hessian: seconds and output error, ours beside GPTQModel's and llm-compressor's.

    python -m benchmarks.gptq [--size 4096] [--threads N] [--repeats N] [--device cuda]
        [--gptqmodel PYTHON] [--llm-compressor PYTHON]

A peer runs in the environment of its own interpreter, on the same weight and Hessian, with the same bits, groups,
damping and threads, one after the other. All round to INT4_G128, symmetric, scales from the extremes (ours also with
its search, and on K-quants, which peers do not have); error is tr((W − Q) H (W − Q)ᵀ) with H = 2 Σ x xᵀ / tokens. The
ceiling is one Cholesky decomposition of the Hessian and half a matrix product of the weight's size, which no routine
can do without.

With `--device cuda` a layer of at most 1024 × 1024 is first quantized on both devices from the same weight and Hessian,
and the share of equal weights and the ratio of the losses stand in the result.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import hardware, record
from pennyweight.core.parallel import default_threads
from pennyweight.kernels import grids
from pennyweight.methods import rtn
from pennyweight.methods.gptq import GptqConfig, quantize_weight
from pennyweight.methods.statistics import Statistics

GROUP, SEED, TOKENS = 128, 1, 4096
OURS = {
    "ours": ("INT4_G128", GptqConfig(act_order=False, clip_search=False)),
    "ours, act-order": ("INT4_G128", GptqConfig(act_order=True, clip_search=False)),
    "ours, act-order, searched": ("INT4_G128", GptqConfig()),
    "ours, Q4_K, act-order": ("Q4_K", GptqConfig()),
    "ours, Q3_K, act-order": ("Q3_K", GptqConfig()),
}
PEERS = {"gptqmodel": "gptqmodel", "llm-compressor": "llm_compressor"}


def problem(size: int, device: str) -> tuple[torch.Tensor, Statistics]:
    """A heavy-tailed weight and the Hessian of correlated inputs with channels of different sizes."""
    rng = np.random.default_rng(SEED)
    mixed = rng.standard_normal((TOKENS, size // 4), np.float32) @ rng.standard_normal((size // 4, size), np.float32)
    x = mixed * np.exp(0.5 * rng.standard_normal(size)) + rng.standard_normal((TOKENS, size), np.float32)
    x = torch.from_numpy((x / x.std()).astype(np.float32)).to(device)
    weight = torch.from_numpy((0.02 * rng.standard_t(5, (size, size))).astype(np.float32)).to(device)
    seen = Statistics(
        name="layer",
        tokens=TOKENS,
        hessian=x.T @ x,
        sum_square=x.square().sum(0),
        sum_absolute=x.abs().sum(0),
        absolute_maximum=x.abs().amax(0),
    )
    return weight, seen


def seconds_of(work: Callable[[], Any], device: str, repeats: int) -> float:
    """Median after one call to warm up."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def ceiling(weight: torch.Tensor, seen: Statistics, repeats: int) -> float:
    """Seconds of a Cholesky decomposition and half a matrix product (the feedback's triangle)."""
    assert seen.hessian is not None
    damped = seen.hessian + 0.01 * seen.hessian.diagonal().mean() * torch.eye(len(seen.hessian), device=weight.device)

    def work() -> None:
        torch.linalg.cholesky_ex(damped)
        _ = weight[: len(weight) // 2] @ damped

    return seconds_of(work, weight.device.type, repeats)


def error_of(weight: torch.Tensor, quantized: torch.Tensor, seen: Statistics) -> float:
    assert seen.hessian is not None
    difference = (weight - quantized).double()
    return float((difference @ seen.hessian.double() * difference).sum()) * 2 / seen.tokens


def side_by_side(size: int, device: str) -> dict[str, dict[str, float]]:
    """The device against the compiled kernel of the CPU, same numbers given: share of equal weights, ratio of losses.

    Sums run in another order there, so that a tie may go another way and what follows it with it.

    Raises: AssertionError where the device's codes do not decode to the device's weight.
    """
    weight, seen = problem(size, device)
    assert seen.hessian is not None
    here = replace(seen, hessian=seen.hessian.cpu(), sum_square=seen.sum_square.cpu())
    found: dict[str, dict[str, float]] = {}
    for name, (grid, config) in OURS.items():
        there = quantize_weight(weight, seen, grids.get(grid), config)
        ours = quantize_weight(weight.cpu(), here, grids.get(grid), config)
        assert there.loss is not None
        assert ours.loss is not None
        np.testing.assert_array_equal(there.codes.decode(), there.weight.cpu().numpy())
        equal = float((there.weight.cpu() == ours.weight).double().mean())
        found[name] = {"equal": equal, "loss_ratio": there.loss / ours.loss}
        print(f"{name:28} {100 * equal:8.3f} % of weights as on the CPU   loss ratio {there.loss / ours.loss:.5f}")
    return found


def peer(name: str, python: str, act_order: bool, threads: int, repeats: int, directory: str) -> dict[str, Any]:
    """What `gptq_peer.py` prints in the peer's own environment."""
    script = str(Path(__file__).with_name("gptq_peer.py"))
    arguments = [name, "yes" if act_order else "no", str(GROUP), str(threads), str(repeats), directory]
    # -P: else modules beside the script (`kernels`) would hide packages of the same name.
    done = subprocess.run([python, "-P", script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--gptqmodel", metavar="PYTHON", help="interpreter that has gptqmodel")
    parser.add_argument("--llm-compressor", metavar="PYTHON", help="interpreter that has llmcompressor")
    args = parser.parse_args()
    if args.device != "cpu" and (args.gptqmodel or args.llm_compressor):
        parser.error("peers run on the CPU; leave --device out")
    torch.set_num_threads(args.threads)
    device = hardware() if args.device == "cpu" else torch.cuda.get_device_name()
    compared = {} if args.device == "cpu" else side_by_side(min(args.size, 1024), args.device)
    weight, seen = problem(args.size, args.device)
    best = ceiling(weight, seen, args.repeats)
    nearest = error_of(weight, rtn.quantize_weight(weight, seen, grids.get("INT4_G128")).weight, seen)
    print(device, f"ceiling (Cholesky, half a product) {best:.2f} s; error of nearest rounding {nearest:.5g}", sep="\n")
    rows: dict[str, dict[str, Any]] = {}

    def keep(name: str, seconds: float, error: float, **more: Any) -> None:
        rows[name] = {"seconds": round(seconds, 4), "error": error, **more}
        print(f"{name:28} {seconds:8.2f} s   {100 * best / seconds:5.1f} % of ceiling   error {error:.5g}", flush=True)

    for name, (grid, config) in OURS.items():
        result: list[Any] = []
        seconds = seconds_of(
            lambda grid=grid, config=config, result=result: result.append(
                quantize_weight(weight, seen, grids.get(grid), config)
            ),
            args.device,
            args.repeats,
        )
        keep(name, seconds, error_of(weight, result[-1].weight, seen), grid=grid)
    with tempfile.TemporaryDirectory() as directory:
        if args.gptqmodel or args.llm_compressor:
            assert seen.hessian is not None
            np.save(Path(directory) / "weight.npy", weight.cpu().numpy())
            np.save(Path(directory) / "hessian.npy", (seen.hessian * (2 / seen.tokens)).cpu().numpy())
        for name, argument in PEERS.items():
            if python := getattr(args, argument):
                for act_order in (False, True):
                    found = peer(name, python, act_order, args.threads, args.repeats, directory)
                    label = f"{name} {found['version']}" + (", act-order" if act_order else "")
                    keep(label, statistics.median(found["seconds"]), found["error"])
    config = {"size": args.size, "threads": args.threads, "repeats": args.repeats, "seed": SEED, "device": device}
    record(
        "gptq",
        {"config": config, "ceiling_seconds": best, "nearest_error": nearest, "rows": rows, "as_on_cpu": compared},
    )


if __name__ == "__main__":
    main()
