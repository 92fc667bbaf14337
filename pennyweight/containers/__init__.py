"""containers: GGUF and safetensors as files: bounded headers, lazy tensors, atomic writers; nothing of models here."""
