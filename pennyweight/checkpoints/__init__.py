"""checkpoints: canonical tensors and GGUF metadata, in from and out to the file layouts that runtimes load."""
