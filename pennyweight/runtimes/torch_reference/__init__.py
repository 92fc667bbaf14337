"""The second engine: any checkpoint in transformers' model classes, float32 or bfloat16, whole or block by block.

    with TorchLogits(open_checkpoint("model.gguf"), TorchSettings(n_ctx=512)) as engine:
        print(perplexity(engine, text).perplexity)

Importing is cheap: PyTorch and transformers (the extra `pennyweight[torch]`) are imported by the first engine made.
"""

from pennyweight.runtimes.torch_reference.hooks import Hooks
from pennyweight.runtimes.torch_reference.logits import DIFFERS_FROM_LLAMA_CPP, TorchLogits
from pennyweight.runtimes.torch_reference.settings import TorchSettings

__all__ = ["DIFFERS_FROM_LLAMA_CPP", "Hooks", "TorchLogits", "TorchSettings"]
