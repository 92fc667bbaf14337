"""runtimes: what runs a model: llama.cpp in-process, and the PyTorch reference engine."""
