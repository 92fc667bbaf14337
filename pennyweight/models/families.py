"""Six model families as tables: which tensors a Hugging Face checkpoint of each has, and what GGUF calls them.

A new family is a new table; nothing else in the package asks which architecture it is. Dimensions have names, so that a
table can say the shape of each tensor before a number is known:

    hidden            width of the residual stream        queries   head_count · head_length
    feed_forward      width of the dense feed-forward     keys      head_count_kv · head_length
    expert            width of one expert                 head      head_length
    experts           experts of one block                vocabulary

Source: transformers `modeling_<family>.py`; llama.cpp conversion/llama.py, conversion/qwen.py, src/models/*.cpp.
"""

from dataclasses import dataclass, replace
from enum import Enum


class Part(Enum):
    """Which rows of a stored tensor a canonical one takes."""

    ALL = "all"
    FIRST_HALF = "first half"  # of each expert: `gate_up_proj` is gate on top of up
    SECOND_HALF = "second half"


class Heads(Enum):
    """Whose rows are rotated in halves by transformers but in neighbouring pairs by llama.cpp, so must be reordered."""

    QUERY = "query"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One place where a checkpoint may keep a tensor; `{expert}` in the name: one stored matrix per expert, stacked."""

    name: str
    part: Part = Part.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRule:
    """One canonical tensor (of each block, where its name has `{block}`) and how a checkpoint spells it.

    Attributes:
        name: GGUF's.
        sources: spellings, the first that is present is taken.
        shape: names of dimensions, slowest first.
        optional: the model works without it (biases).
        permuted: heads whose rows are reordered for llama.cpp's `llama` architecture.
        float32: always kept in F32, as llama.cpp does with routers. Vectors are F32 without saying so.
        where: what must be true of the model or of the block for it to be there (`untied`, `experts`, `attention`), in
            the words of `architectures`; rules for planning alone have these, and no sources.
    """

    name: str
    sources: tuple[Source, ...]
    shape: tuple[str, ...]
    optional: bool = False
    permuted: Heads | None = None
    float32: bool = False
    where: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture of transformers and the GGUF architecture that runs it.

    Attributes:
        model_type, class_name: what config.json says in `model_type` and in `architectures`.
        architecture: GGUF's name.
        tensors: every tensor the family has; an untied output and `rope_freqs.weight` are in it as optional.
        rope_theta, rms_norm_epsilon, head_length: what transformers takes where config.json is silent; head_length None
            means hidden / heads.
        frequency_factors: llama.cpp reads `rope_freqs.weight` (Llama 3's scaling) for this architecture.
        expert_width_key: the key of config.json with the width of an expert; None in a dense family.
    """

    model_type: str
    class_name: str
    architecture: str
    tensors: tuple[TensorRule, ...]
    rope_theta: float = 10_000.0
    rms_norm_epsilon: float = 1e-6
    head_length: int | None = None
    frequency_factors: bool = False
    expert_width_key: str | None = None


IGNORED_SUFFIXES = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
"""Buffers that old checkpoints store and that the config determines; llama.cpp's converter leaves them out too."""

OUTPUT = "output.weight"


def _rule(name: str, stored: str, *shape: str, optional: bool = False, permuted: Heads | None = None) -> TensorRule:
    return TensorRule(name=name, sources=(Source(name=stored),), shape=shape, optional=optional, permuted=permuted)


def _layer(name: str, stored: str, *shape: str, optional: bool = False, permuted: Heads | None = None) -> TensorRule:
    return _rule(
        f"blk.{{block}}.{name}", f"model.layers.{{block}}.{stored}", *shape, optional=optional, permuted=permuted
    )


def _attention(permuted: bool) -> tuple[TensorRule, ...]:
    query, key = (Heads.QUERY, Heads.KEY) if permuted else (None, None)
    return (
        _layer("attn_norm.weight", "input_layernorm.weight", "hidden"),
        _layer("attn_q.weight", "self_attn.q_proj.weight", "queries", "hidden", permuted=query),
        _layer("attn_k.weight", "self_attn.k_proj.weight", "keys", "hidden", permuted=key),
        _layer("attn_v.weight", "self_attn.v_proj.weight", "keys", "hidden"),
        _layer("attn_output.weight", "self_attn.o_proj.weight", "hidden", "queries"),
        _layer("ffn_norm.weight", "post_attention_layernorm.weight", "hidden"),
    )


def _attention_biases(permuted: bool, optional: bool) -> tuple[TensorRule, ...]:
    query, key = (Heads.QUERY, Heads.KEY) if permuted else (None, None)
    return (
        _layer("attn_q.bias", "self_attn.q_proj.bias", "queries", optional=optional, permuted=query),
        _layer("attn_k.bias", "self_attn.k_proj.bias", "keys", optional=optional, permuted=key),
        _layer("attn_v.bias", "self_attn.v_proj.bias", "keys", optional=optional),
    )


def _experts(router: tuple[str, ...], gate: str, up: str, down: str) -> tuple[TensorRule, ...]:
    """Router and stacked experts: one matrix per expert, or fused as transformers 5 holds them in memory."""
    fused = "model.layers.{block}.mlp.experts"
    wide, narrow = ("experts", "expert", "hidden"), ("experts", "hidden", "expert")

    def rule(name: str, shape: tuple[str, ...], stored: str, fused_name: str, part: Part) -> TensorRule:
        sources = (Source(name=f"model.layers.{{block}}.{stored}"), Source(name=f"{fused}.{fused_name}", part=part))
        return TensorRule(name=f"blk.{{block}}.{name}", sources=sources, shape=shape)

    return (
        TensorRule(
            name="blk.{block}.ffn_gate_inp.weight",
            sources=tuple(Source(name=f"model.layers.{{block}}.{name}") for name in router),
            shape=("experts", "hidden"),
            float32=True,
        ),
        rule("ffn_gate_exps.weight", wide, gate, "gate_up_proj", Part.FIRST_HALF),
        rule("ffn_up_exps.weight", wide, up, "gate_up_proj", Part.SECOND_HALF),
        rule("ffn_down_exps.weight", narrow, down, "down_proj", Part.ALL),
    )


_OUTER = (
    _rule("token_embd.weight", "model.embed_tokens.weight", "vocabulary", "hidden"),
    _rule("output_norm.weight", "model.norm.weight", "hidden"),
    replace(_rule(OUTPUT, "lm_head.weight", "vocabulary", "hidden", optional=True), where=frozenset({"untied"})),
)
_DENSE = (
    _layer("ffn_gate.weight", "mlp.gate_proj.weight", "feed_forward", "hidden"),
    _layer("ffn_up.weight", "mlp.up_proj.weight", "feed_forward", "hidden"),
    _layer("ffn_down.weight", "mlp.down_proj.weight", "hidden", "feed_forward"),
)
_DENSE_BIASES = (
    _layer("ffn_gate.bias", "mlp.gate_proj.bias", "feed_forward", optional=True),
    _layer("ffn_up.bias", "mlp.up_proj.bias", "feed_forward", optional=True),
    _layer("ffn_down.bias", "mlp.down_proj.bias", "hidden", optional=True),
)
_OUTPUT_BIAS = (_layer("attn_output.bias", "self_attn.o_proj.bias", "hidden", optional=True),)
_HEAD_NORMS = (
    _layer("attn_q_norm.weight", "self_attn.q_norm.weight", "head"),
    _layer("attn_k_norm.weight", "self_attn.k_norm.weight", "head"),
)
_MIXTRAL_EXPERTS = _experts(
    ("block_sparse_moe.gate.weight", "mlp.gate.weight"),
    *(f"block_sparse_moe.experts.{{expert}}.{part}.weight" for part in ("w1", "w3", "w2")),
)
_QWEN_EXPERTS = _experts(
    ("mlp.gate.weight",),
    *(f"mlp.experts.{{expert}}.{part}.weight" for part in ("gate_proj", "up_proj", "down_proj")),
)
_LLAMA_TENSORS = (
    *_OUTER,
    *_attention(permuted=True),
    *_attention_biases(permuted=True, optional=True),
    *_OUTPUT_BIAS,
    *_DENSE,
    *_DENSE_BIASES,
)

LLAMA = Family(
    model_type="llama",
    class_name="LlamaForCausalLM",
    architecture="llama",
    tensors=_LLAMA_TENSORS,
    frequency_factors=True,
)
MISTRAL = Family(
    model_type="mistral",
    class_name="MistralForCausalLM",
    architecture="llama",
    tensors=_LLAMA_TENSORS,
    frequency_factors=True,
)
MIXTRAL = Family(
    model_type="mixtral",
    class_name="MixtralForCausalLM",
    architecture="llama",
    tensors=(*_OUTER, *_attention(permuted=True), *_MIXTRAL_EXPERTS),
    rope_theta=1_000_000.0,
    rms_norm_epsilon=1e-5,
    expert_width_key="intermediate_size",
    frequency_factors=True,
)
QWEN2 = Family(
    model_type="qwen2",
    class_name="Qwen2ForCausalLM",
    architecture="qwen2",
    tensors=(*_OUTER, *_attention(permuted=False), *_attention_biases(permuted=False, optional=False), *_DENSE),
)
QWEN3 = Family(
    model_type="qwen3",
    class_name="Qwen3ForCausalLM",
    architecture="qwen3",
    tensors=(*_OUTER, *_attention(permuted=False), *_HEAD_NORMS, *_DENSE),
    head_length=128,
)
QWEN3_MOE = Family(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    architecture="qwen3moe",
    tensors=(*_OUTER, *_attention(permuted=False), *_HEAD_NORMS, *_QWEN_EXPERTS),
    expert_width_key="moe_intermediate_size",
)

ALL = (LLAMA, MISTRAL, MIXTRAL, QWEN2, QWEN3, QWEN3_MOE)
