"""Run in vLLM's own environment: DIRECTORY, TOKENS.json, OUT.npy, DTYPE → ln p of each token but the first.

vLLM's build for CPUs without AVX-512 reads 4-bit checkpoints, repacks them, and then has no kernel to multiply with.
There a product by definition stands in, on the words that vLLM made; everything before it is vLLM's own.
"""

import json
import os
import sys

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
)


def product_by_definition(input, q_weight, scales, zeros, bias, pack_factor, isa_hint):  # type: ignore[no-untyped-def]
    """x · wᵀ for `cpu_gemm_wna16`: blocks of 16 outputs, eight 4-bit codes a word; zero points likewise, else 8."""
    import torch

    del isa_hint
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    columns = q_weight.shape[1] * pack_factor // 16
    words = q_weight.view(-1, columns, 16 // pack_factor, 1)
    codes = (words >> shifts & 15).reshape(-1, columns, 16).permute(1, 0, 2).reshape(columns, -1).float()
    groups = scales.shape[0]
    zero = 8.0 if zeros is None else (zeros[..., None] >> shifts & 15).reshape(groups, -1).float()
    zero = zero if zeros is None else zero.repeat_interleave(columns // groups, 0)
    weight = (codes - zero) * scales.float().repeat_interleave(columns // groups, 0)
    out = input.float() @ weight.to(input.dtype).float()
    return (out if bias is None else out + bias.float()).to(input.dtype)


def lend_kernel() -> str:
    """Put the product in where vLLM has none; says so."""
    import torch
    from vllm import _custom_ops

    if hasattr(torch.ops._C, "cpu_gemm_wna16"):
        return ""
    _custom_ops.cpu_gemm_wna16 = product_by_definition
    return " (no 4-bit kernel: product by definition)"


def main(directory: str, tokens_file: str, out: str, dtype: str) -> None:
    import numpy as np
    import vllm

    lent = lend_kernel()
    with open(tokens_file, encoding="utf-8") as file:
        tokens = json.load(file)
    model = vllm.LLM(
        directory, enforce_eager=True, skip_tokenizer_init=True, max_model_len=128, dtype=dtype, max_num_seqs=4
    )
    parameters = vllm.SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    found = model.generate([{"prompt_token_ids": tokens}], parameters)[0].prompt_logprobs
    assert found is not None
    np.save(out, [entry[token].logprob for token, entry in zip(tokens[1:], found[1:], strict=True)])
    print(f"vllm {vllm.__version__}{lent}")


if __name__ == "__main__":
    main(*sys.argv[1:])
