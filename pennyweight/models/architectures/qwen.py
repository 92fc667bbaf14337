"""Qwen2.5, Qwen3 dense and with experts, Qwen3-Next: GGUF's `qwen2`, `qwen3`, `qwen3moe`, `qwen3next`.

Qwen3-Next mixes by a gated delta rule in three blocks of four: a short convolution over queries, keys and values, and
a state of 128 × 128 numbers for each of 32 heads.
"""

from pennyweight.models import families
from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Hybrid,
    Outline,
    experts,
    layer,
    shared_experts,
)
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, expert_numbers
from pennyweight.models.fields import Fields


def _read(fields: Fields) -> Outline:
    return Outline(numbers=common_numbers(fields), features=common_features(fields), notes=common_notes(fields))


def _read_experts(fields: Fields) -> Outline:
    return Outline(numbers=common_numbers(fields) | expert_numbers(fields), features=common_features(fields))


def _read_next(fields: Fields) -> Outline:
    heads, head = fields.count("linear_num_value_heads"), fields.count("linear_value_head_dim")
    numbers = common_numbers(fields) | expert_numbers(fields)
    numbers |= {
        "expert_shared_feed_forward_length": fields.count("shared_expert_intermediate_size"),
        "full_attention_interval": fields.count("full_attention_interval", default=4),
        "ssm.conv_kernel": fields.count("linear_conv_kernel_dim"),
        "ssm.state_size": fields.count("linear_key_head_dim"),
        "ssm.group_count": fields.count("linear_num_key_heads"),
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * head,
    }
    notes = (*common_notes(fields), "a draft head (MTP) of the checkpoint is not counted; a GGUF may hold it")
    return Outline(numbers=numbers, features=common_features(fields) | {"shared"}, notes=notes)


_NEXT_TENSORS = (
    *OUTER,
    layer("attn_norm.weight", "hidden"),
    layer("attn_q.weight", "gated_queries", "hidden", where="attention"),
    layer("attn_k.weight", "keys", "hidden", where="attention"),
    layer("attn_v.weight", "values", "hidden", where="attention"),
    layer("attn_output.weight", "hidden", "queries", where="attention"),
    layer("attn_q_norm.weight", "head", where="attention"),
    layer("attn_k_norm.weight", "head", where="attention"),
    layer("attn_qkv.weight", "delta_channels", "hidden", where="state"),
    layer("attn_gate.weight", "inner", "hidden", where="state"),
    layer("ssm_conv1d.weight", "delta_channels", "convolution", where="state"),
    layer("ssm_dt.bias", "state_heads", where="state"),
    layer("ssm_a", "state_heads", where="state"),
    layer("ssm_ba.weight", "twice_state_heads", "hidden", where="state"),
    layer("ssm_norm.weight", "state", where="state"),
    layer("ssm_out.weight", "hidden", "inner", where="state"),
    layer("post_attention_norm.weight", "hidden"),
    *experts(),
    layer("ffn_gate_inp_shexp.weight", "hidden", where="experts"),
    *shared_experts(),
)
_SOURCE = "llama.cpp src/models/{}.cpp, conversion/qwen.py"

QWEN2 = Architecture(
    name="qwen2",
    class_names=("Qwen2ForCausalLM",),
    read=_read,
    tensors=families.QWEN2.tensors,
    source=_SOURCE.format("qwen2"),
)
QWEN3 = Architecture(
    name="qwen3",
    class_names=("Qwen3ForCausalLM",),
    read=_read,
    tensors=families.QWEN3.tensors,
    source=_SOURCE.format("qwen3"),
)
QWEN3_MOE = Architecture(
    name="qwen3moe",
    class_names=("Qwen3MoeForCausalLM",),
    read=_read_experts,
    tensors=families.QWEN3_MOE.tensors,
    source=_SOURCE.format("qwen3moe"),
)
QWEN3_NEXT = Architecture(
    name="qwen3next",
    class_names=("Qwen3NextForCausalLM",),
    read=_read_next,
    tensors=_NEXT_TENSORS,
    hybrid=Hybrid.INTERVAL,
    source=_SOURCE.format("qwen3next"),
)
