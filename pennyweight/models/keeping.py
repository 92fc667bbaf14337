"""GGUF keys → what each block keeps of the tokens it has read.

Source: llama.cpp b11549 src/llama-hparams.cpp `n_embd_k_gqa`, `n_embd_r`, `n_embd_s`, `set_swa_pattern`;
src/llama-model.cpp `create_memory`; the `load_arch_hparams` of each architecture.
"""

from pennyweight.models.anatomy import Block, Keeps
from pennyweight.models.architectures.base import Architecture
from pennyweight.models.shape import Keys, ModelShape


def blocks_of(shape: ModelShape, keys: Keys, architecture: Architecture | None) -> tuple[Block, ...]:
    """One `Block` for each decoder block. Of an unknown architecture: every block keeps every token, an upper bound."""
    return tuple(_attending(shape, keys, architecture, number) for number in range(shape.block_count))


def _attending(shape: ModelShape, keys: Keys, architecture: Architecture | None, number: int) -> Block:
    key_width = shape.head_counts_kv[number] * shape.key_length
    value_width = shape.head_counts_kv[number] * shape.value_length
    return Block(keeps=Keeps.EVERY_TOKEN, key_width=key_width, value_width=value_width)
