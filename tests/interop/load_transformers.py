"""Run in an environment of transformers with a foreign loader: DIRECTORY, TOKENS.json, OUT.npy, MODE, PACKAGE.

MODE `plain`, or `dequantize`, which compressed-tensors calls turning codes into weights while loading.
"""

import json
import sys
from importlib.metadata import version


def main(directory: str, tokens_file: str, out: str, mode: str, package: str) -> None:
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    options = {}
    if mode == "dequantize":
        from transformers import CompressedTensorsConfig

        options["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    with open(tokens_file, encoding="utf-8") as file:
        tokens = torch.tensor(json.load(file))
    dtype = torch.float32 if package in ("compressed-tensors", "bitsandbytes") else torch.float16
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, device_map="cpu", **options).eval()
    with torch.no_grad():
        logits = model(tokens[None]).logits[0, :-1].float()
    chosen = torch.log_softmax(logits, -1).gather(1, tokens[1:, None])[:, 0]
    np.save(out, chosen.numpy())
    print(f"transformers {version('transformers')}, {package} {version(package)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
