"""config.json in the words of transformers 4 and 5, what must be in it, and what llama.cpp would compute otherwise."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models.config import config_from_json
from pennyweight.models.rope import Rope, frequency_factors, rope_from_config
from tests.checkpoints.tiny_huggingface import HEAD, HEADS, HIDDEN, config
from tests.wrong_json import refusal, variations

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def rope(model_type: str = "llama", **options: Any) -> Rope:
    return config_from_json(config(model_type, rope_parameters=options, rope_theta=None)).rope


def test_both_generations_of_keys_mean_the_same() -> None:
    scaling = {"type": "linear", "factor": 2.0}
    old = config_from_json(config("llama", rope_theta=5e5, rope_scaling=scaling))
    new = config("llama", rope_theta=None, torch_dtype=None, dtype="bfloat16")
    new["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    assert config_from_json(new) == old
    assert old.rope == Rope(theta=5e5, kind="linear", factor=2.0)


def test_silence_means_what_transformers_takes_it_for() -> None:
    bare = partial(config, head_dim=None, num_key_value_heads=None, rope_theta=None, rms_norm_eps=None)
    found = config_from_json(bare("llama"))
    assert (found.head_count_kv, found.head_length) == (HEADS, HIDDEN // HEADS)
    assert (found.rope.theta, found.rms_norm_epsilon, found.tied) == (10_000, 1e-6, False)
    assert config_from_json(bare("qwen3")).head_length == 128
    assert config_from_json(bare("qwen3_moe")).head_length == HIDDEN // HEADS
    mixtral = config_from_json(bare("mixtral"))
    assert (mixtral.rope.theta, mixtral.rms_norm_epsilon) == (1_000_000, 1e-5)


@pytest.mark.parametrize(
    "key",
    [
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
        "num_local_experts",
        "num_experts_per_tok",
    ],
)
def test_a_missing_field_is_named(key: str) -> None:
    named = "num_experts" if key == "num_local_experts" else key
    with pytest.raises(FormatError, match=f"lacks {named}$"):
        config_from_json(config("mixtral", **{key: None}))


def test_an_unknown_architecture_is_told_which_are_known() -> None:
    with pytest.raises(UnsupportedModel, match=r"'GemmaForCausalLM'.*known: LlamaForCausalLM, MistralForCausalLM"):
        config_from_json(config("llama") | {"architectures": ["GemmaForCausalLM"]})
    assert config_from_json(config("qwen3", architectures=None)).family.model_type == "qwen3"


@pytest.mark.parametrize(
    ("family", "changes", "line"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, r"already quantized \(gptq\)"),
        ("llama", {"quantization_config": 4}, r"already quantized \(4\)"),
        ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob"),
        ("llama", {"num_hidden_layers": 513}, "513, llama.cpp runs at most 512"),
        ("qwen2", {"rope_scaling": {"rope_type": "llama3"} | LLAMA3}, "no rope_type 'llama3' for Qwen2"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("llama", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "known: default, linear"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16}}, "'yarn' with beta_fast 16"),
        ("llama", {"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": False}}, "truncate False"),
        ("llama", {"rope_parameters": {"full_attention": {}}}, "one set for all layers"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(family: str, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UnsupportedModel, match=line):
        config_from_json(config(family, **changes))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"hidden_size": 2.5}, "hidden_size is 2.5"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"vocab_size": 1 << 31}, "vocab_size is 2147483648"),
        ({"num_key_value_heads": 3}, "4 heads over 3 key-value heads"),
        ({"head_dim": 7}, "heads of 7 numbers"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps is '1e-5'"),
        ({"num_experts_per_tok": 9}, "9 of 4 experts"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "lacks factor"),
        ({"rope_scaling": {"rope_type": "llama3"} | LLAMA3 | {"high_freq_factor": 1.0}}, "wanted high above low"),
    ],
)
def test_a_number_that_cannot_be_is_shown(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(FormatError, match=line):
        config_from_json(config("mixtral", **changes))


def test_options_at_the_values_that_llama_cpp_has_anyway_are_accepted() -> None:
    found = rope("qwen2", rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1, truncate=True, mscale=None)
    assert found == Rope(theta=10_000, kind="yarn", factor=4.0, original_context=128)
    assert rope(rope_type="default", rope_theta=1e6, factor=9.0) == Rope(theta=1e6, kind="default")
    assert rope(rope_type="dynamic", factor=2.0).kind == "dynamic"


def test_frequency_factors_are_their_definition() -> None:
    found = config_from_json(config("llama", rope_parameters={"rope_type": "llama3", "rope_theta": 10_000.0} | LLAMA3))
    expected = []
    for i in range(64):
        wavelength = 2 * np.pi * 10_000.0 ** (2 * i / 128)
        smooth = np.clip((64 / wavelength - 1) / (4 - 1), 0, 1)
        expected.append(1 / ((1 - smooth) / 8 + smooth))
    factors = frequency_factors(found.rope, 128)
    assert factors.dtype == np.float32
    np.testing.assert_allclose(factors, expected, rtol=2e-6)
    assert set(factors[:6]) == {1.0}
    assert set(factors[-10:]) == {8.0}


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_no_value_of_a_config_causes_anything_but_one_clear_line(family: str) -> None:
    content = config(family, rope_scaling={"rope_type": "llama3"} | LLAMA3, quantization_config={"bits": 4})
    refused = 0
    for path, wrong, document in variations(content):
        document["quantization_config"] = None if path[0] != "quantization_config" else document["quantization_config"]
        line = refusal(partial(config_from_json, document))
        refused += line is not None
        assert "\n" not in (line or ""), (path, wrong)
    assert refused > 50


def test_head_length_need_not_divide_the_hidden_size() -> None:
    assert config_from_json(config("qwen3", head_dim=2 * HEAD)).dimension("queries") == 2 * HEAD * HEADS


def test_a_rope_of_a_config_without_any_is_the_plain_one() -> None:
    assert rope_from_config({"max_position_embeddings": 64}, 500.0) == Rope(theta=500.0, kind="default")
