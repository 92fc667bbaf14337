"""gpt-oss 20B and 120B: GGUF's `gpt-oss`.

Every other block sees 128 tokens; each head has a sink; all matrices but the embeddings have biases, those of the
experts too. The experts are published in MXFP4, and llama.cpp's converter keeps them so; the published GGUF files have
the other matrices in Q8_0 (llama-quantize's type MXFP4_MOE).
"""

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
    features = common_features(fields)
    if not _is_published(fields):
        return Outline(numbers=numbers, features=features)
    notes = ("published in MXFP4, which llama.cpp runs as it is: no other type of it is smaller and as good",)
    return Outline(
        numbers=numbers,
        features=features,
        notes=notes,
        file_type="MXFP4_MOE",
        matrix_format="Q8_0",
        expert_format="MXFP4",
    )


def _is_published(fields: Fields) -> bool:
    """Whether the checkpoint holds MXFP4 experts, as OpenAI's do; one that was trained further may hold BF16."""
    options = fields.value("quantization_config")
    return isinstance(options, dict) and options.get("quant_method") == "mxfp4"


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
        *experts(),
        layer("ffn_gate_inp.bias", "experts"),
        layer("ffn_gate_exps.bias", "experts", "expert"),
        layer("ffn_up_exps.bias", "experts", "expert"),
        layer("ffn_down_exps.bias", "experts", "hidden"),
    ),
    windows=Windows(period=2),
    source="llama.cpp src/models/openai-moe.cpp, conversion/gpt_oss.py",
)
