"""What can still be said of a model whose architecture is not known: its tensors as they are stored, and bounds.

Its weights are the numbers of its safetensors headers, though names and so formats may differ in a GGUF. Its cache is
at most what full attention in every block would keep.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pennyweight.containers.tensor import StoredTensor
from pennyweight.models.anatomy import Anatomy, Block, Keeps
from pennyweight.models.fields import Fields
from pennyweight.models.rope_words import scaling_in_words
from pennyweight.models.shape import MAX_BLOCKS, ModelShape
from pennyweight.models.tensors import PlannedTensor

_INTEGERS = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")


def bounded_anatomy(
    config: Mapping[str, Any], stored: Iterable[StoredTensor], *, name: str, repository: str, why: str
) -> Anatomy:
    """Bounds from the stored tensors and what config.json says of heads and blocks; `known` is False.

    Raises: FormatError where the config does not even say its width, blocks and heads.
    """
    fields = Fields(config)
    hidden, blocks = fields.count("hidden_size", "d_model", "n_embd"), fields.count("num_hidden_layers", "n_layer")
    heads = fields.count("num_attention_heads", "n_head")
    heads_kv = fields.count("num_key_value_heads", default=heads)
    head = fields.count("head_dim", default=max(1, hidden // heads))
    fields.require(blocks <= MAX_BLOCKS, f"{blocks} blocks; at most {MAX_BLOCKS} are planned")
    context = fields.count("max_position_embeddings", "n_positions", default=4096)
    vocabulary = fields.count("vocab_size")
    fields.require_complete()
    shape = ModelShape(
        architecture="unknown",
        name=name,
        block_count=blocks,
        context_length=context,
        embedding_length=hidden,
        feed_forward_lengths=(0,) * blocks,
        head_counts=(heads,) * blocks,
        head_counts_kv=(heads_kv,) * blocks,
        key_length=head,
        value_length=head,
        expert_count=0,
        expert_used_count=0,
        expert_feed_forward_length=0,
        vocabulary_size=vocabulary,
    )
    width = heads_kv * head
    return Anatomy(
        name=name,
        repository=repository,
        source=f"config.json and safetensors headers of {repository or name}",
        known=False,
        shape=shape,
        tensors=tuple(_planned(tensor) for tensor in stored if tensor.format not in _INTEGERS),
        file_type=None,
        blocks=(Block(keeps=Keeps.EVERY_TOKEN, key_width=width, value_width=width),) * blocks,
        notes=(f"{why}; sizes and cache are bounds: tensors as stored, full attention in every block",),
        rope_scaling=scaling_in_words(config),
    )


def _planned(tensor: StoredTensor) -> PlannedTensor:
    return PlannedTensor(name=tensor.name, shape=tensor.shape, format="F32" if len(tensor.shape) < 2 else "F16")
