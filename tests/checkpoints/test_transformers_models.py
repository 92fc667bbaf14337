"""Models that transformers made and saved, read by us, run by llama.cpp: the same logits as in transformers.

Random weights, because a slip of names, permutation, rotation or experts shows in them as well as in trained ones. The
two engines differ by rounding only: 1e-6 of the largest logit, where any slip gives 0.1 or more.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pennyweight import formats
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.containers.gguf_writer import GGUFWriter, TensorInfo
from pennyweight.core.errors import UnsupportedModel
from pennyweight.runtimes.llama_cpp import Context, ContextSettings, Model
from tests.checkpoints.tiny_huggingface import CLASSES, TOKENIZER_CONFIG, tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.torch]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = 200  # beyond the original context of the stretched models
SETTINGS = ContextSettings(n_ctx=256, threads=1, type_k="f32", type_v="f32", flash_attention=False)
SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,  # GQA of 4
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
EXPERTS = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 96, "norm_topk_prob": True}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64, "rope_theta": 500_000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}


def rope(**options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10_000.0} | options}


CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, wide heads": ("llama", {"head_dim": 32}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3, tied, sharded": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "shards": "100KB"}),
    "llama, dynamic": ("llama", rope(rope_type="dynamic", factor=2.0)),
    "mistral, linear": ("mistral", rope(rope_type="linear", factor=2.0) | {"sliding_window": None}),
    "mixtral, sharded": ("mixtral", {"num_local_experts": 8, "num_experts_per_tok": 2, "shards": "200KB"}),
    "qwen2": ("qwen2", {}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen2, yarn with its own attention factor": ("qwen2", {"rope_parameters": YARN | {"attention_factor": 1.3}}),
    "qwen3, wide heads, tied": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3_moe, sharded": ("qwen3_moe", EXPERTS | {"head_dim": 32, "shards": "200KB"}),
    "qwen3_moe, heads by division": ("qwen3_moe", EXPERTS),
}


def saved(directory: Path, model_type: str, changes: dict[str, Any]) -> Path:
    """A random model as `save_pretrained` leaves it, with norms and biases that are not at their initial values."""
    shards = changes.pop("shards", "5GB")
    generator = torch.manual_seed(5)
    config = getattr(transformers, CLASSES[model_type].replace("ForCausalLM", "Config"))(**SMALL | changes)
    model = getattr(transformers, CLASSES[model_type])(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm.weight", "bias")):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(directory, max_shard_size=shards)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (directory / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    return directory


def written(directory: Path) -> Path:
    """The checkpoint as a float32 GGUF."""
    checkpoint = open_huggingface(directory)
    infos = [TensorInfo(name=t.name, shape=t.shape, format=formats.get("F32")) for t in checkpoint.tensors]
    with GGUFWriter(directory / "model.gguf", checkpoint.metadata, infos) as writer:
        for tensor in checkpoint.tensors:
            writer.write_rows(tensor.name, 0, tensor.read_rows(0, tensor.rows).view(np.uint8))
    return directory / "model.gguf"


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_what_transformers_does(case: str, tmp_path: Path) -> None:
    model_type, changes = CASES[case]
    directory = saved(tmp_path, model_type, dict(changes))
    tokens = np.random.default_rng(3).integers(2, 300, TOKENS)
    with Model.load(written(directory)) as model, Context(model, SETTINGS) as context:
        context.decode(tokens, np.arange(TOKENS))
        found = context.logits().copy()
    reference = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = reference(torch.tensor(tokens)[None]).logits[0].numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_fused_experts_of_transformers_5_run_alike(tmp_path: Path) -> None:
    directory = saved(tmp_path / "saved", "qwen3_moe", dict(EXPERTS))
    state = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).state_dict()
    assert "model.layers.0.mlp.experts.gate_up_proj" in state
    fused = tmp_path / "fused"
    fused.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (fused / name).write_bytes((directory / name).read_bytes())
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, fused / "model.safetensors")
    single, stacked = open_huggingface(directory), open_huggingface(fused)
    for one, other in zip(single.tensors, stacked.tensors, strict=True):
        np.testing.assert_array_equal(one.read_rows(0, one.rows), other.read_rows(0, other.rows), err_msg=one.name)


def test_biases_that_llama_cpp_would_not_load_are_refused(tmp_path: Path) -> None:
    directory = saved(tmp_path, "qwen3", {"attention_bias": True})
    with pytest.raises(
        UnsupportedModel, match=r"Qwen3ForCausalLM .* has no model\.layers\.0\.self_attn\.\w_proj\.bias"
    ):
        open_huggingface(directory)
