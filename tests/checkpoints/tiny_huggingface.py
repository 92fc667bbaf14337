"""Tiny Hugging Face checkpoints of all six families, written with safetensors alone; milliseconds, no torch.

Names and shapes are spelled out here as transformers writes them, not taken from the package's tables.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pennyweight.models.pretokenizers import QWEN2
from tests.tiny_gguf import vocabulary

HIDDEN, HEADS, KV_HEADS, HEAD, FEED, EXPERTS, EXPERT_FEED, BLOCKS, VOCABULARY = 32, 4, 2, 8, 48, 4, 24, 2, 320
TOKENIZER_TOKENS = 300
Tensors = dict[str, NDArray[np.float32]]

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}


def config(model_type: str, **changes: Any) -> dict[str, Any]:
    """config.json of a tiny model in the words of transformers 4; a change to None removes a key."""
    found = {
        "architectures": [CLASSES[model_type]],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "head_dim": HEAD,
        "intermediate_size": FEED,
        "max_position_embeddings": 128,
        "num_attention_heads": HEADS,
        "num_hidden_layers": BLOCKS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": VOCABULARY,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    if model_type == "mixtral":
        found |= {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}
    if model_type == "qwen3_moe":
        found |= {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT_FEED}
        found |= {"norm_topk_prob": True}
    return {key: value for key, value in (found | changes).items() if value is not None}


def tensors(model_type: str, seed: int = 0) -> Tensors:
    """Random float32 weights under the names that transformers saves."""
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    shapes |= {"lm_head.weight": (VOCABULARY, HIDDEN)}
    for block in range(BLOCKS):
        shapes |= {f"model.layers.{block}.{name}": shape for name, shape in _block(model_type).items()}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def tokenizer(**model: Any) -> dict[str, Any]:
    """tokenizer.json: byte-level BPE of 300 tokens with Qwen2's splits, BOS before a text."""
    tokens, merges = vocabulary(TOKENIZER_TOKENS)
    ids = {token: number for number, token in enumerate(tokens)}
    split = {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(0, "<s>"), added(1, "</s>"), added(TOKENIZER_TOKENS, "<tool>", special=False)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, to_bytes]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        },
        "decoder": to_bytes,
        "model": {"type": "BPE", "vocab": ids, "merges": [merge.split(" ") for merge in merges]} | model,
    }


TOKENIZER_CONFIG = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ messages }}"}


def write_huggingface(
    directory: Path,
    model_type: str = "llama",
    *,
    stored: Tensors | None = None,
    shards: int = 1,
    tokenizer_json: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a whole checkpoint and return its directory; `changes` are to config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "config.json", config(model_type, **changes))
    _write(directory / "tokenizer.json", tokenizer() if tokenizer_json is None else tokenizer_json)
    _write(directory / "tokenizer_config.json", TOKENIZER_CONFIG)
    weights = tensors(model_type) if stored is None else stored
    if shards == 1:
        save_file(weights, directory / "model.safetensors", {"format": "pt"})
        return directory
    names = sorted(weights)
    weight_map = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        save_file({name: weights[name] for name in names if weight_map[name] == shard}, directory / shard)
    _write(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return directory


def fused_experts(stored: Tensors) -> Tensors:
    """The same weights with experts fused, as transformers 5 holds them: gate on top of up, all experts in one."""
    kept = {
        name.replace("block_sparse_moe.gate", "mlp.gate"): w for name, w in stored.items() if ".experts." not in name
    }
    for block in range(BLOCKS):
        mixtral = f"model.layers.{block}.block_sparse_moe.experts.0.w1.weight" in stored
        prefix = f"model.layers.{block}.{'block_sparse_moe' if mixtral else 'mlp'}.experts"
        words = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
        gate, up, down = (np.stack([stored[f"{prefix}.{e}.{word}.weight"] for e in range(EXPERTS)]) for word in words)
        kept[f"model.layers.{block}.mlp.experts.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        kept[f"model.layers.{block}.mlp.experts.down_proj"] = down
    return kept


def _block(model_type: str) -> dict[str, tuple[int, ...]]:
    queries, keys = HEADS * HEAD, KV_HEADS * HEAD
    found: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.q_proj.weight": (queries, HIDDEN),
        "self_attn.k_proj.weight": (keys, HIDDEN),
        "self_attn.v_proj.weight": (keys, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, queries),
    }
    if model_type == "qwen2":
        found |= {f"self_attn.{part}_proj.bias": (n,) for part, n in (("q", queries), ("k", keys), ("v", keys))}
    if model_type.startswith("qwen3"):
        found |= {f"self_attn.{part}_norm.weight": (HEAD,) for part in "qk"}
    if model_type == "mixtral":
        found["block_sparse_moe.gate.weight"] = (EXPERTS, HIDDEN)
        for e in range(EXPERTS):
            found |= {f"block_sparse_moe.experts.{e}.{w}.weight": (FEED, HIDDEN) for w in ("w1", "w3")}
            found[f"block_sparse_moe.experts.{e}.w2.weight"] = (HIDDEN, FEED)
    elif model_type == "qwen3_moe":
        found["mlp.gate.weight"] = (EXPERTS, HIDDEN)
        for e in range(EXPERTS):
            found |= {f"mlp.experts.{e}.{w}_proj.weight": (EXPERT_FEED, HIDDEN) for w in ("gate", "up")}
            found[f"mlp.experts.{e}.down_proj.weight"] = (HIDDEN, EXPERT_FEED)
    else:
        found |= {f"mlp.{w}_proj.weight": (FEED, HIDDEN) for w in ("gate", "up")}
        found["mlp.down_proj.weight"] = (HIDDEN, FEED)
    return found


def added(number: int, text: str, special: bool = True) -> dict[str, Any]:
    """One entry of tokenizer.json's `added_tokens`, with all that tokenizers asks for."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": text, **flags}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
