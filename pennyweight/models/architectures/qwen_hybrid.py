"""Qwen3-Next and Qwen3.5, dense and with experts: GGUF's `qwen3next`, `qwen35`, `qwen35moe`.

Three blocks of four mix by a gated delta rule: a short convolution over queries, keys and values, and a state of
128 × 128 numbers for each of 16 to 64 heads. The fourth attends, its queries with a gate each. Qwen3.6 is Qwen3.5 by
architecture. Of a checkpoint of Qwen3.5 the text model is planned: llama.cpp's converter leaves the vision tower to a
projector file, and appends the draft head (MTP) to the blocks unless told not to; it is loaded only to be drafted with.
"""

from pennyweight.models.architectures.base import (
    OUTER,
    Architecture,
    Hybrid,
    Number,
    Outline,
    experts,
    feed_forward,
    layer,
    shared_experts,
)
from pennyweight.models.architectures.common import common_features, common_notes, common_numbers, expert_numbers
from pennyweight.models.fields import Fields

_LINEAR = "linear_attention"


def _read_next(fields: Fields) -> Outline:
    notes = (*common_notes(fields), "a draft head (MTP) of the checkpoint is not counted; a GGUF may hold it")
    return _outline(fields, common_numbers(fields) | _expert_numbers(fields), notes)


def _read_dense(fields: Fields) -> Outline:
    return _outline(fields, common_numbers(fields), common_notes(fields))


def _read_experts(fields: Fields) -> Outline:
    # Published configs have no dense width, because no block is dense.
    numbers = common_numbers(fields, "intermediate_size", "moe_intermediate_size")
    return _outline(fields, numbers | _expert_numbers(fields), common_notes(fields))


def _outline(fields: Fields, numbers: dict[str, Number], notes: tuple[str, ...]) -> Outline:
    shared = {"shared"} if "expert_count" in numbers else set()
    return Outline(
        numbers=numbers | _delta_numbers(fields),
        features=common_features(fields) | shared,
        notes=notes,
        draft_blocks=fields.count("mtp_num_hidden_layers", default=0, least=0),
    )


def _expert_numbers(fields: Fields) -> dict[str, Number]:
    shared = fields.count("shared_expert_intermediate_size")
    return expert_numbers(fields) | {"expert_shared_feed_forward_length": shared}


def _delta_numbers(fields: Fields) -> dict[str, Number]:
    """The gated delta rule, and which blocks have it: a list of words, or all but every n-th."""
    key, value = fields.count("linear_key_head_dim"), fields.count("linear_value_head_dim")
    # llama.cpp has one key, ssm.state_size, for both.
    fields.require(
        key == value, f"linear_key_head_dim is {key}, linear_value_head_dim {value}; llama.cpp has one of both"
    )
    heads = fields.count("linear_num_value_heads")
    numbers: dict[str, Number] = {
        "full_attention_interval": fields.count("full_attention_interval", default=4),
        "ssm.conv_kernel": fields.count("linear_conv_kernel_dim"),
        "ssm.state_size": key,
        "ssm.group_count": fields.count("linear_num_key_heads"),
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * value,
    }
    kinds = fields.words("layer_types", fields.blocks())
    listed = {} if kinds is None else {"attention.recurrent_layers": tuple(int(kind == _LINEAR) for kind in kinds)}
    return numbers | listed


_MIXERS = (
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
    layer("ssm_norm.weight", "state", where="state"),
    layer("ssm_out.weight", "hidden", "inner", where="state"),
    layer("post_attention_norm.weight", "hidden"),
)
_BETA_AND_ALPHA = (
    layer("ssm_beta.weight", "state_heads", "hidden", where="state"),
    layer("ssm_alpha.weight", "state_heads", "hidden", where="state"),
)
_EXPERTS = (
    *experts(),
    layer("ffn_gate_inp_shexp.weight", "hidden", where="experts"),
    *shared_experts(),
)
_DRAFT = (
    layer("nextn.eh_proj.weight", "hidden", "twice_hidden"),
    layer("nextn.enorm.weight", "hidden"),
    layer("nextn.hnorm.weight", "hidden"),
    layer("nextn.shared_head_norm.weight", "hidden"),
)
_SOURCE = "llama.cpp src/models/{}.cpp, conversion/qwen.py"

QWEN3_NEXT = Architecture(
    name="qwen3next",
    class_names=("Qwen3NextForCausalLM",),
    read=_read_next,
    tensors=(*_MIXERS, layer("ssm_ba.weight", "twice_state_heads", "hidden", where="state"), *_EXPERTS),
    hybrid=Hybrid.INTERVAL,
    source=_SOURCE.format("qwen3next"),
)
QWEN35 = Architecture(
    name="qwen35",
    class_names=("Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"),
    read=_read_dense,
    tensors=(*_MIXERS, *_BETA_AND_ALPHA, *feed_forward()),
    draft=_DRAFT,
    hybrid=Hybrid.INTERVAL,
    source=_SOURCE.format("qwen35"),
)
QWEN35_MOE = Architecture(
    name="qwen35moe",
    class_names=("Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"),
    read=_read_experts,
    tensors=(*_MIXERS, *_BETA_AND_ALPHA, *_EXPERTS),
    draft=_DRAFT,
    hybrid=Hybrid.INTERVAL,
    source=_SOURCE.format("qwen35moe"),
)
