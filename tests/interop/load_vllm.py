"""Run in vLLM's own environment: DIRECTORY, TOKENS.json, OUT.npy → log-probabilities of each token but the first."""

import json
import os
import sys

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL="ERROR",
)


def main(directory: str, tokens_file: str, out: str, dtype: str) -> None:
    import numpy as np
    import vllm

    with open(tokens_file, encoding="utf-8") as file:
        tokens = json.load(file)
    model = vllm.LLM(
        directory, enforce_eager=True, skip_tokenizer_init=True, max_model_len=128, dtype=dtype, max_num_seqs=4
    )
    parameters = vllm.SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    found = model.generate([{"prompt_token_ids": tokens}], parameters)[0].prompt_logprobs
    assert found is not None
    np.save(out, [entry[token].logprob for token, entry in zip(tokens[1:], found[1:], strict=True)])
    print(f"vllm {vllm.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
