"""Architectures of which a GGUF file can be planned exactly, though their config.json is not read here.

A file lists its tensors itself; what has to be known is only what its blocks keep. Left out are all that llama.cpp
gives a cache of their own kind (indexers, shared or reused layers, encoders).

Source: llama.cpp b11549 src/llama-model.cpp `create_memory`, src/llama-arch.cpp `llm_arch_is_hybrid`; src/models/*.cpp.
"""

from pennyweight.models.architectures.base import Architecture, Hybrid, Windows

_EVERY_TOKEN = (
    *("llama-embed", "starcoder2", "command-r", "qwen", "qwen2moe", "qwen2vl", "qwen3vl", "qwen3vlmoe", "stablelm"),
    *("granite", "granitemoe", "internlm2", "exaone", "minicpm", "smollm3", "ernie4_5", "ernie4_5-moe", "seed_oss"),
    *("hunyuan-dense", "hunyuan-moe", "bailingmoe", "dots1", "nemotron", "olmo", "olmoe", "phi2", "gemma", "falcon"),
    *("chatglm", "deepseek", "xverse", "baichuan", "arcee", "mistral3", "dbrx", "grok", "mpt", "gpt2", "gptneox"),
)

READ_ONLY = (
    *(Architecture(name=name) for name in _EVERY_TOKEN),
    Architecture(name="cohere2", windows=Windows(period=4)),
    Architecture(name="falcon-h1", hybrid=Hybrid.BOTH),
)
