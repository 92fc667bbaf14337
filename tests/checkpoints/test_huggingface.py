"""Hugging Face directories: the right rows in their places, the converter's keys, one line for what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pennyweight.checkpoints.base import LazyTensor
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.containers.gguf import ValueType
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.models.shape import shape_from_metadata
from tests.checkpoints.tiny_huggingface import (
    BLOCKS,
    CLASSES,
    EXPERTS,
    FEED,
    HEAD,
    HEADS,
    HIDDEN,
    KV_HEADS,
    VOCABULARY,
    fused_experts,
    tensors,
    write_huggingface,
)

FAMILIES = tuple(CLASSES)
LAYERS = "model.layers.{}."


def _whole(tensor: LazyTensor, step: int | None = None) -> NDArray[np.float32]:
    """All of it, read in slabs of `step` rows."""
    step = step or max(tensor.rows, 1)
    slabs = [tensor.read_rows(start, min(start + step, tensor.rows)) for start in range(0, tensor.rows, step)]
    return np.concatenate(slabs).reshape(tensor.shape)


def _opened(path: Path) -> dict[str, LazyTensor]:
    return {tensor.name: tensor for tensor in open_huggingface(path).tensors}


def _permuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """llama.cpp's `permute`, as conversion/llama.py writes it."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_stored_number_appears_exactly_once(family: str, tmp_path: Path) -> None:
    found = _opened(write_huggingface(tmp_path, family))
    values = np.concatenate([_whole(tensor).ravel() for tensor in found.values()])
    stored = np.concatenate([weight.ravel() for weight in tensors(family).values()])
    np.testing.assert_array_equal(np.sort(values), np.sort(stored))


@pytest.mark.parametrize(
    ("family", "permuted"), [("llama", True), ("mixtral", True), ("qwen2", False), ("qwen3", False)]
)
def test_queries_and_keys_are_permuted_for_the_llama_architecture_only(
    family: str, permuted: bool, tmp_path: Path
) -> None:
    found, stored = _opened(write_huggingface(tmp_path, family)), tensors(family)
    for block in range(BLOCKS):
        for name, part, heads in (("attn_q", "q", HEADS), ("attn_k", "k", KV_HEADS), ("attn_v", "v", None)):
            weight = stored[LAYERS.format(block) + f"self_attn.{part}_proj.weight"]
            expected = _permuted(weight, heads) if permuted and heads else weight
            np.testing.assert_array_equal(_whole(found[f"blk.{block}.{name}.weight"]), expected)


def test_biases_of_permuted_heads_are_permuted_too(tmp_path: Path) -> None:
    stored, rng = tensors("llama"), np.random.default_rng(1)
    for block in range(BLOCKS):
        for part, width in (("q", HEADS * HEAD), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD), ("o", HIDDEN)):
            stored[LAYERS.format(block) + f"self_attn.{part}_proj.bias"] = rng.standard_normal(width).astype(np.float32)
    found = _opened(write_huggingface(tmp_path, stored=stored, attention_bias=True))
    bias = stored["model.layers.1.self_attn.k_proj.bias"]
    np.testing.assert_array_equal(_whole(found["blk.1.attn_k.bias"]), _permuted(bias, KV_HEADS))
    np.testing.assert_array_equal(
        found["blk.1.attn_k.bias"].raw_rows(0, 1).view(np.float32)[0], _permuted(bias, KV_HEADS)
    )
    np.testing.assert_array_equal(
        _whole(found["blk.1.attn_output.bias"]), stored["model.layers.1.self_attn.o_proj.bias"]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_slab_in_which_rows_are_read_never_changes_them(family: str, tmp_path: Path) -> None:
    for tensor in _opened(write_huggingface(tmp_path, family)).values():
        whole, raw = _whole(tensor), tensor.raw_rows(0, tensor.rows)
        assert raw.nbytes == tensor.nbytes
        for step in (1, 3, 7, HEAD + 1):
            np.testing.assert_array_equal(_whole(tensor, step), whole)
            slabs = [tensor.raw_rows(s, min(s + step, tensor.rows)) for s in range(0, tensor.rows, step)]
            np.testing.assert_array_equal(np.concatenate(slabs), raw)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_are_stacked_alike_from_single_and_from_fused_matrices(family: str, tmp_path: Path) -> None:
    stored = tensors(family)
    single = _opened(write_huggingface(tmp_path / "single", family, stored=stored))
    fused = _opened(write_huggingface(tmp_path / "fused", family, stored=fused_experts(stored)))
    assert list(single) == list(fused)
    for name in single:
        np.testing.assert_array_equal(_whole(single[name], 5), _whole(fused[name], 5), err_msg=name)
    assert single["blk.0.ffn_gate_exps.weight"].shape[0] == EXPERTS
    word = "block_sparse_moe.experts.3.w2" if family == "mixtral" else "mlp.experts.3.down_proj"
    np.testing.assert_array_equal(
        _whole(single["blk.1.ffn_down_exps.weight"])[3], stored[f"model.layers.1.{word}.weight"]
    )


def test_shards_give_what_a_single_file_gives(tmp_path: Path) -> None:
    one, many = write_huggingface(tmp_path / "a"), write_huggingface(tmp_path / "b", shards=3)
    first, second = _opened(one), _opened(many)
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_array_equal(_whole(first[name]), _whole(second[name]))
    read = [path.name for path in open_huggingface(many).files]
    assert sum(name.endswith(".safetensors") for name in read) == 3
    assert {"config.json", "tokenizer.json"} <= set(read), "an output must not replace these either"


def test_vectors_norms_and_routers_are_float32_and_matrices_keep_their_format(tmp_path: Path) -> None:
    half = {name: weight.astype(np.float16) for name, weight in tensors("mixtral").items()}
    checkpoint = open_huggingface(write_huggingface(tmp_path, "mixtral", stored=half))  # type: ignore[arg-type]
    formats = {tensor.name: tensor.format for tensor in checkpoint.tensors}
    wide = {name for name, format in formats.items() if format == "F32"}
    assert wide == {name for name in formats if name.endswith(("_norm.weight", "ffn_gate_inp.weight"))}
    assert set(formats.values()) == {"F32", "F16"}
    assert checkpoint.metadata["general.file_type"].value == 1


@pytest.mark.slow
def test_a_router_stored_in_halves_keeps_its_numbers(tmp_path: Path) -> None:
    half = {name: weight.astype(np.float16) for name, weight in tensors("mixtral").items()}
    checkpoint = open_huggingface(write_huggingface(tmp_path, "mixtral", stored=half))  # type: ignore[arg-type]
    router = next(tensor for tensor in checkpoint.tensors if tensor.name == "blk.0.ffn_gate_inp.weight")
    np.testing.assert_array_equal(
        _whole(router), half["model.layers.0.block_sparse_moe.gate.weight"].astype(np.float32)
    )


def test_a_tied_model_has_no_output_and_an_untied_one_must_have_it(tmp_path: Path) -> None:
    stored = tensors("qwen3")
    del stored["lm_head.weight"]
    tied = write_huggingface(tmp_path / "tied", "qwen3", stored=stored, tie_word_embeddings=True)
    assert "output.weight" not in _opened(tied)
    untied = write_huggingface(tmp_path / "untied", "qwen3", stored=stored)
    with pytest.raises(FormatError, match=r"lacks lm_head\.weight"):
        open_huggingface(untied)


def test_the_metadata_are_the_converters_in_order_and_type(tmp_path: Path) -> None:
    checkpoint = open_huggingface(write_huggingface(tmp_path / "Tiny", "mixtral"))
    plain = {key: value.value for key, value in checkpoint.metadata.items() if value.type is not ValueType.ARRAY}
    assert plain == pytest.approx(
        {
            "general.architecture": "llama",
            "general.type": "model",
            "general.name": "Tiny",
            "llama.block_count": BLOCKS,
            "llama.context_length": 128,
            "llama.embedding_length": HIDDEN,
            "llama.feed_forward_length": FEED,
            "llama.attention.head_count": HEADS,
            "llama.attention.head_count_kv": KV_HEADS,
            "llama.rope.freq_base": 10000.0,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.expert_count": EXPERTS,
            "llama.expert_used_count": 2,
            "llama.attention.key_length": HEAD,
            "llama.attention.value_length": HEAD,
            "general.file_type": 0,
            "llama.vocab_size": VOCABULARY,
            "llama.rope.dimension_count": HEAD,
            "general.quantization_version": 2,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.add_eos_token": False,
            "tokenizer.chat_template": "{{ messages }}",
        }
    )
    kinds = {value.type for key, value in checkpoint.metadata.items() if key.startswith("llama.")}
    assert kinds == {ValueType.UINT32, ValueType.FLOAT32}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_read_back_is_that_of_the_config(family: str, tmp_path: Path) -> None:
    shape = shape_from_metadata(open_huggingface(write_huggingface(tmp_path, family)).metadata)
    assert (shape.block_count, shape.embedding_length, shape.vocabulary_size) == (BLOCKS, HIDDEN, VOCABULARY)
    assert (shape.head_count, shape.head_count_kv, shape.key_length) == (HEADS, KV_HEADS, HEAD)
    experts = (EXPERTS, 2) if family in ("mixtral", "qwen3_moe") else (0, 0)
    assert (shape.expert_count, shape.expert_used_count) == experts


def test_llama3_scaling_becomes_a_tensor_and_no_key(tmp_path: Path) -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 64
    checkpoint = open_huggingface(write_huggingface(tmp_path, rope_scaling=scaling))
    factors = _whole(checkpoint.tensors[0])
    assert checkpoint.tensors[0].name == "rope_freqs.weight"
    assert factors.shape == (HEAD // 2,)
    assert factors[0] == 1
    assert factors[-1] == 8
    assert not [key for key in checkpoint.metadata if "rope.scaling" in key]


def test_yarn_carries_its_attention_factor_in_the_key_that_llama_cpp_reads(tmp_path: Path) -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "attention_factor": 1.3}
    checkpoint = open_huggingface(write_huggingface(tmp_path, "qwen2", rope_scaling=scaling))
    found = {key.split("scaling.")[1]: v.value for key, v in checkpoint.metadata.items() if "rope.scaling" in key}
    own = 1 + 0.1 * np.log(4.0)
    assert found.pop("type") == "yarn"
    assert found == pytest.approx({"factor": 4.0, "original_context_length": 32, "attn_factor": 1.3 / own}, rel=1e-6)


def test_sampling_settings_are_carried_over_and_must_be_numbers(tmp_path: Path) -> None:
    directory = write_huggingface(tmp_path)
    (directory / "generation_config.json").write_text('{"top_k": 20, "temperature": 0.5, "top_p": null, "seed": 4}')
    metadata = open_huggingface(directory).metadata
    found = {key: (value.type, value.value) for key, value in metadata.items() if ".sampling." in key}
    assert found == {
        "general.sampling.top_k": (ValueType.INT32, 20),
        "general.sampling.temp": (ValueType.FLOAT32, 0.5),
    }
    for wrong in ('"hot"', "true", "1e999", "[1]"):
        (directory / "generation_config.json").write_text(f'{{"temperature": {wrong}}}')
        with pytest.raises(FormatError, match=r"generation_config\.json: temperature is .*; wanted a number"):
            open_huggingface(directory)


def test_a_model_in_the_cache_is_called_by_its_repository(tmp_path: Path) -> None:
    path = write_huggingface(tmp_path / "models--someone--Tiny-1B" / "snapshots" / ("0" * 40))
    assert open_huggingface(path).metadata["general.name"].value == "Tiny-1B"


def test_old_rotary_buffers_are_left_out(tmp_path: Path) -> None:
    stored = tensors("llama") | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    assert len(_opened(write_huggingface(tmp_path, stored=stored))) == len(tensors("llama"))


def test_unknown_tensors_are_named_and_never_dropped(tmp_path: Path) -> None:
    stored = tensors("qwen3") | {f"model.layers.0.extra.{i}.weight": np.ones(4, np.float32) for i in range(9)}
    with pytest.raises(UnsupportedModel, match=r"Qwen3ForCausalLM .* no .*extra\.0\.weight.* and 4 more"):
        open_huggingface(write_huggingface(tmp_path, "qwen3", stored=stored))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    stored = tensors("mixtral")
    del stored["model.layers.1.block_sparse_moe.experts.2.w3.weight"]
    with pytest.raises(FormatError, match=r"lacks model\.layers\.1\.block_sparse_moe\.experts\.2\.w3\.weight, which"):
        open_huggingface(write_huggingface(tmp_path, "mixtral", stored=stored))


def test_a_shape_that_contradicts_the_config_gives_both(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=rf"embed_tokens\.weight has shape \({VOCABULARY}, {HIDDEN}\).*\(400, {HIDDEN}\)"
    ):
        open_huggingface(write_huggingface(tmp_path, vocab_size=400))


def test_a_tokenizer_larger_than_the_embedding_gives_both_numbers(tmp_path: Path) -> None:
    stored = tensors("llama")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        stored[name] = stored[name][:290]
    with pytest.raises(FormatError, match=r"token 300 \('<tool>'\).*vocab_size is 290"):
        open_huggingface(write_huggingface(tmp_path, stored=stored, vocab_size=290))


def test_integers_and_mixed_experts_are_refused(tmp_path: Path) -> None:
    stored = tensors("llama") | {"model.layers.0.mlp.up_proj.weight": np.zeros((FEED, HIDDEN), np.int8)}
    with pytest.raises(UnsupportedModel, match=r"up_proj\.weight is stored as I8; wanted one of F32, F16, BF16"):
        open_huggingface(write_huggingface(tmp_path / "a", stored=stored))  # type: ignore[arg-type]
    experts = tensors("mixtral")
    name = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    experts[name] = experts[name].astype(np.float16)  # type: ignore[assignment]
    with pytest.raises(UnsupportedModel, match=r"experts\.1\.w1\.weight is stored as F16, other experts .* F32"):
        open_huggingface(write_huggingface(tmp_path / "b", "mixtral", stored=experts))


def test_pickles_are_refused_and_never_read(tmp_path: Path) -> None:
    directory = write_huggingface(tmp_path)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(BadRequest, match=r"pickled \.bin and \.pt files are never read"):
        open_huggingface(directory)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    directory = write_huggingface(tmp_path, shards=3)
    (directory / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FormatError, match=r"model-00002-of-00003\.safetensors"):
        open_huggingface(directory)


def test_a_directory_that_is_no_checkpoint_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"no config\.json"):
        open_huggingface(tmp_path / "nothing")
    directory = write_huggingface(tmp_path / "a")
    (directory / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"neither tokenizer\.json nor tokenizer\.model"):
        open_huggingface(directory)
    for broken in ("[1, 2]", "{", '{"a": ' * 100_000):
        (directory / "config.json").write_text(broken)
        with pytest.raises(FormatError, match=r"config\.json"):
            open_huggingface(directory)


def test_a_copy_elsewhere_reads_the_same(tmp_path: Path) -> None:
    first = write_huggingface(tmp_path / "a", "qwen3_moe")
    shutil.copytree(first, tmp_path / "b")
    one, two = open_huggingface(first), open_huggingface(tmp_path / "b")
    assert {k: v for k, v in one.metadata.items() if k != "general.name"} == {
        k: v for k, v in two.metadata.items() if k != "general.name"
    }
