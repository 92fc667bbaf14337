"""config.json of a Hugging Face checkpoint → one checked value, whatever version of transformers wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models import families
from pennyweight.models.families import Family
from pennyweight.models.rope import Rope, rope_from_config
from pennyweight.models.shape import MAX_BLOCKS

MAX_EXPERTS = 512  # llama.cpp's LLAMA_MAX_EXPERTS; more of them abort its process


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What config.json says, in our words; every count is at least 1, except those of experts in a dense family.

    Attributes:
        tied: the output is the token embedding, and `lm_head.weight` may be absent.
        special_ids: `bos`, `eos`, `pad` … → token id, as far as config.json names one.
    """

    family: Family
    block_count: int
    context_length: int
    embedding_length: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    head_length: int
    rms_norm_epsilon: float
    rope: Rope
    vocabulary_size: int
    tied: bool
    expert_count: int
    expert_used_count: int
    expert_feed_forward_length: int
    special_ids: tuple[tuple[str, int], ...]

    def dimension(self, name: str) -> int:
        """The number behind a name in `families`' shapes."""
        return {
            "hidden": self.embedding_length,
            "feed_forward": self.feed_forward_length,
            "queries": self.head_count * self.head_length,
            "keys": self.head_count_kv * self.head_length,
            "head": self.head_length,
            "experts": self.expert_count,
            "expert": self.expert_feed_forward_length,
            "vocabulary": self.vocabulary_size,
        }[name]


def config_from_json(config: Mapping[str, Any]) -> ModelConfig:
    """Check and translate a parsed config.json.

    Raises:
        UnsupportedModel: another architecture, or an option that llama.cpp computes differently.
        FormatError: a field is missing or is not the number it should be.
    """
    family = _family(config)
    _refuse_options(config, family)
    heads = _count(config, "num_attention_heads")
    hidden = _count(config, "hidden_size")
    head_length = _count(config, "head_dim", family.head_length or hidden // heads)
    heads_kv = _count(config, "num_key_value_heads", heads)
    if heads % heads_kv:
        raise FormatError(
            f"config.json: {heads} heads over {heads_kv} key-value heads of {head_length}; wanted whole groups"
        )
    if head_length % 2:
        raise FormatError(f"config.json: heads of {head_length} numbers; rotary embeddings want an even length")
    experts, used, width = _experts(config, family)
    context = _count(config, "max_position_embeddings")
    rope = rope_from_config(config, family.rope_theta)
    if rope.kind == "llama3" and not family.frequency_factors:
        raise UnsupportedModel(f"config.json: llama.cpp has no rope_type 'llama3' for {family.class_name}")
    blocks = _count(config, "num_hidden_layers")
    if blocks > MAX_BLOCKS:
        raise UnsupportedModel(f"config.json: num_hidden_layers is {blocks}, llama.cpp runs at most {MAX_BLOCKS}")
    return ModelConfig(
        family=family,
        block_count=blocks,
        context_length=context,
        embedding_length=hidden,
        feed_forward_length=_count(config, "intermediate_size"),
        head_count=heads,
        head_count_kv=heads_kv,
        head_length=head_length,
        rms_norm_epsilon=_epsilon(config, family),
        rope=rope,
        vocabulary_size=_count(config, "vocab_size"),
        tied=config.get("tie_word_embeddings", False) is True,
        expert_count=experts,
        expert_used_count=used,
        expert_feed_forward_length=width,
        special_ids=_special_ids(config),
    )


def _family(config: Mapping[str, Any]) -> Family:
    """By class name; by `model_type` where a config names no class."""
    named = config.get("architectures")
    wanted = named[0] if isinstance(named, list) and named else config.get("model_type")
    for family in families.ALL:
        if wanted in (family.class_name, family.model_type):
            return family
    known = ", ".join(family.class_name for family in families.ALL)
    raise UnsupportedModel(f"config.json: architecture {wanted!r} is not one of those read here; known: {known}")


def _refuse_options(config: Mapping[str, Any], family: Family) -> None:
    """Options under which llama.cpp would compute another function than transformers does."""
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise UnsupportedModel(
            f"config.json: hidden_act is {activation!r}; llama.cpp runs {family.model_type} with 'silu'"
        )
    if config.get("quantization_config"):
        options = config["quantization_config"]
        method = options.get("quant_method", "unknown") if isinstance(options, dict) else options
        raise UnsupportedModel(
            f"config.json: the checkpoint is already quantized ({method}); start from the original one"
        )
    # transformers' own default here is false, so silence counts as false.
    if family is families.QWEN3_MOE and config.get("norm_topk_prob", False) is not True:
        raise UnsupportedModel(
            "config.json: norm_topk_prob is not true; llama.cpp always normalizes the experts' weights"
        )


def _experts(config: Mapping[str, Any], family: Family) -> tuple[int, int, int]:
    """Experts, how many of them a token uses, the width of one; zeros in a dense family."""
    if family.expert_width_key is None:
        return 0, 0, 0
    # Mixtral's name and Qwen's, either of which transformers accepts for both.
    key = "num_local_experts" if "num_local_experts" in config else "num_experts"
    experts, used = _count(config, key), _count(config, "num_experts_per_tok")
    if used > experts or experts > MAX_EXPERTS:
        raise FormatError(
            f"config.json: {used} of {experts} experts per token; wanted at most {MAX_EXPERTS} and no more used"
        )
    return experts, used, _count(config, family.expert_width_key)


def _count(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number from 1 to 2³¹ − 1; `null` counts as absent."""
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise FormatError(f"config.json lacks {key}")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 31:
        raise FormatError(f"config.json: {key} is {value!r}; wanted a whole number of at least 1")
    return value


def _epsilon(config: Mapping[str, Any], family: Family) -> float:
    value = config.get("rms_norm_eps", family.rms_norm_epsilon)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise FormatError(f"config.json: rms_norm_eps is {value!r}; wanted a number from 0 to 1")
    return float(value)


def _special_ids(config: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Only single ids: a list of end-of-sequence ids names no one of them as the tokenizer's."""
    found = ((kind, config.get(f"{kind}_token_id")) for kind in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
    return tuple((kind, value) for kind, value in found if type(value) is int and value >= 0)
