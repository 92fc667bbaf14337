"""One GPTQ routine that is not ours, timed in its own environment. Called by `benchmarks.gptq`; not by hand.

    PYTHON -P gptq_peer.py NAME ACT_ORDER GROUP_SIZE THREADS REPEATS DIRECTORY

reads weight.npy and hessian.npy (Σ x xᵀ · 2 / tokens) from DIRECTORY and prints one JSON object: version, seconds of
each run (the weight and Hessian in memory, as in the peer's own pipeline), and the output error tr(Δ H Δᵀ) of the last.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

BITS, DAMP, TOKENS = 4, 0.01, 4096
Routine = Callable[[torch.Tensor, torch.Tensor, bool, int], torch.Tensor]


def llm_compressor(weight: torch.Tensor, hessian: torch.Tensor, act_order: bool, group_size: int) -> torch.Tensor:
    """`llmcompressor.modifiers.gptq.gptq_quantize.quantize_weight`; scales from the extremes, as its observer gives."""
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    args = QuantizationArgs(
        num_bits=BITS, strategy="group", group_size=group_size, symmetric=True, actorder="weight" if act_order else None
    )
    scale = weight.reshape(len(weight), -1, group_size).abs().amax(-1) * (2 / (2**BITS - 1))
    zero = torch.zeros_like(scale, dtype=torch.int8)
    quantized, _, fallback = quantize_weight(
        weight[None], hessian[None], scale[None], zero[None], None, args, blocksize=128, percdamp=DAMP
    )
    assert not bool(fallback.any())
    return quantized[0]


def gptqmodel(weight: torch.Tensor, hessian: torch.Tensor, act_order: bool, group_size: int) -> torch.Tensor:
    """`gptqmodel.quantization.gptq.GPTQ.quantize` with the Hessian put in."""
    from gptqmodel.quantization.gptq import GPTQ, QuantizeConfig

    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight.data = weight
    config = QuantizeConfig(
        bits=BITS,
        group_size=group_size,
        sym=True,
        desc_act=act_order,
        act_group_aware=False,
        static_groups=act_order,
        damp_percent=DAMP,
        fallback=None,
    )
    task = GPTQ(module, config)
    task.quantizer.configure(perchannel=True)
    task.H, task.nsamples, task._hessian_total_samples = hessian, TOKENS, TOKENS
    return task.quantize(blocksize=128)[0].float()


ROUTINES: dict[str, tuple[str, Routine]] = {
    "llm-compressor": ("llmcompressor", llm_compressor),
    "gptqmodel": ("gptqmodel", gptqmodel),
}


def main() -> None:
    name, act_order, group_size, threads, repeats, directory = sys.argv[1:]
    torch.set_num_threads(int(threads))
    package, routine = ROUTINES[name]
    weight, hessian = (torch.from_numpy(np.load(Path(directory) / f"{part}.npy")) for part in ("weight", "hessian"))
    seconds, quantized = [], weight
    with torch.no_grad():
        for _ in range(int(repeats) + 1):
            inputs = weight.clone(), hessian.clone()
            start = time.perf_counter()
            quantized = routine(*inputs, act_order == "yes", int(group_size))
            seconds.append(time.perf_counter() - start)
        difference = (weight - quantized).double()
        error = float((difference @ hessian.double() * difference).sum())
    print(json.dumps({"version": version(package), "seconds": seconds[1:], "error": error}))


if __name__ == "__main__":
    main()
