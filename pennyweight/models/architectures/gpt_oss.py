"""gpt-oss 20B and 120B: GGUF's `gpt-oss`.

Every other block sees 128 tokens; each head has a sink; all matrices but the embeddings have biases, those of the
experts too. The experts are published in MXFP4, and llama.cpp's converter keeps them so.
"""

from dataclasses import replace

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Outline,
    Windows,
    attention,
    attention_biases,
    experts,
    layer,
)
from pennyweight.models.architectures.common import common_features, common_numbers, expert_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    numbers = common_numbers(fields) | expert_numbers(fields, "intermediate_size")
    numbers["attention.sliding_window"] = fields.count("sliding_window")
    notes = ("its experts are published in MXFP4; any other type rounds them again, to more bytes or worse",)
    return Outline(numbers=numbers, features=common_features(fields), notes=notes)


GPT_OSS = Architecture(
    name="gpt-oss",
    class_names=("GptOssForCausalLM",),
    read=_read,
    tensors=(
        *OUTER,
        layer("attn_norm.weight", "hidden"),
        *attention(),
        *attention_biases(),
        layer("attn_output.bias", "hidden"),
        layer("attn_sinks.weight", "heads"),
        layer("post_attention_norm.weight", "hidden"),
        *(replace(rule, format="MXFP4") if "_exps" in rule.name else rule for rule in experts()),
        layer("ffn_gate_inp.bias", "experts"),
        layer("ffn_gate_exps.bias", "experts", "expert"),
        layer("ffn_up_exps.bias", "experts", "expert"),
        layer("ffn_down_exps.bias", "experts", "hidden"),
    ),
    windows=Windows(period=2),
    source="llama.cpp src/models/openai-moe.cpp, conversion/gpt_oss.py",
)
