"""llama.cpp in this process, in the shared object of the pinned `xllamacpp` wheel: no compiler, no PyTorch.

    with Model.load("model.gguf") as model, Context(model, ContextSettings(n_ctx=2048)) as context:
        tokens = model.tokenize("The scales of the market", add_special=True)
        print(model.detokenize(generate(context, tokens, 40)))

Importing is cheap: the shared object is loaded when it is first asked for (`shared_object`). A context is used by one
thread at a time; llama.cpp itself uses as many threads as the context's settings say.
"""

from pennyweight.runtimes.llama_cpp.context import Context, Timings
from pennyweight.runtimes.llama_cpp.generate import Sampling, generate
from pennyweight.runtimes.llama_cpp.logits import LlamaCppLogits
from pennyweight.runtimes.llama_cpp.model import Model, ModelFacts
from pennyweight.runtimes.llama_cpp.settings import ContextSettings
from pennyweight.runtimes.llama_cpp.shared_object import BUILD, system_info

__all__ = [
    "BUILD",
    "Context",
    "ContextSettings",
    "LlamaCppLogits",
    "Model",
    "ModelFacts",
    "Sampling",
    "Timings",
    "generate",
    "system_info",
]
