"""OLMo 2 and 3: GGUF's `olmo2`.

Norms follow attention and feed-forward; OLMo 3 sees 4096 tokens in three blocks of four.
"""

from pennyweight.models.architectures.base import OUTER, Architecture, Outline, Windows, attention, feed_forward, layer
from pennyweight.models.architectures.common import common_features, common_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    numbers = common_numbers(fields)
    if fields.value("sliding_window") is not None:
        blocks = fields.blocks()
        types = fields.words("layer_types", blocks)
        windowed = [kind == "sliding_attention" for kind in types] if types else [i % 4 < 3 for i in range(blocks)]
        numbers["attention.sliding_window"] = fields.count("sliding_window")
        numbers["attention.sliding_window_pattern"] = tuple(map(int, windowed))
    return Outline(numbers=numbers, features=common_features(fields))


OLMO2 = Architecture(
    name="olmo2",
    class_names=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    read=_read,
    tensors=(
        *OUTER,
        *attention(),
        layer("attn_q_norm.weight", "queries"),
        layer("attn_k_norm.weight", "keys"),
        layer("post_attention_norm.weight", "hidden"),
        *feed_forward(),
        layer("post_ffw_norm.weight", "hidden"),
    ),
    windows=Windows(period=4),
    source="llama.cpp src/models/olmo2.cpp, conversion/olmo.py",
)
