"""Gemma 2 and 3: GGUF's `gemma2`, `gemma3`. Both tie the output to the embedding and norm before and after each part.

Gemma 2 sees 4096 tokens in every other block; Gemma 3 sees 512 or 1024 in five blocks of six. Configs of Gemma 3 leave
out what their class has by default, and state a vocabulary of 262,208 rows, of which the converter keeps 262,144.
"""

from pennyweight.models.architectures.base import Architecture, Outline, Windows, attention, feed_forward, layer, tensor
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers
from pennyweight.models.families import TensorRule
from pennyweight.models.fields import Fields

GEMMA3_VOCABULARY = 262_144


def _read_2(fields: Fields) -> Outline:
    numbers = common_numbers(fields) | {"attention.sliding_window": fields.count("sliding_window")}
    return Outline(numbers=numbers)


def _read_3(fields: Fields) -> Outline:
    heads, head = fields.count("num_attention_heads", default=8), fields.count("head_dim", default=256)
    numbers = {
        "block_count": fields.blocks(),
        "context_length": fields.count("max_position_embeddings", default=131_072),
        "embedding_length": fields.count("hidden_size"),
        "feed_forward_length": fields.count("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": fields.count("num_key_value_heads", default=4),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": fields.count("sliding_window"),
        "vocab_size": min(GEMMA3_VOCABULARY, fields.count("vocab_size", default=GEMMA3_VOCABULARY)),
    }
    return Outline(numbers=numbers, features=common_features(fields, tied=True), notes=common_notes(fields))


_HEAD_NORMS = (layer("attn_q_norm.weight", "head"), layer("attn_k_norm.weight", "head"))


def _tensors(*head_norms: TensorRule) -> tuple[TensorRule, ...]:
    return (
        tensor("token_embd.weight", "vocabulary", "hidden"),
        tensor("output_norm.weight", "hidden"),
        layer("attn_norm.weight", "hidden"),
        *attention(),
        *head_norms,
        layer("post_attention_norm.weight", "hidden"),
        layer("ffn_norm.weight", "hidden"),
        *feed_forward(),
        layer("post_ffw_norm.weight", "hidden"),
    )


GEMMA2 = Architecture(
    name="gemma2",
    class_names=("Gemma2ForCausalLM",),
    read=_read_2,
    tensors=_tensors(),
    windows=Windows(period=2, default=4096),
    source="llama.cpp src/models/gemma2.cpp, conversion/gemma.py",
)
GEMMA3 = Architecture(
    name="gemma3",
    class_names=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    read=_read_3,
    tensors=_tensors(*_HEAD_NORMS),
    windows=Windows(period=6),
    source="llama.cpp src/models/gemma3.cpp, conversion/gemma.py",
)
