"""The embedded model with outliers, as checkpoint directories: plants A and T of `pennyweight.transforms.plants`."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats, kernels
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.models.embedded import EMBEDDED
from pennyweight.transforms.plants import enlarge_channels, offset_embedding

A_CHANNELS, A_FACTOR = (17, 141), 50.0
T_CHANNELS, T_OFFSET = (5, 96, 203), 6.0
"""Channels, and the offset in units of the embedding's root mean square."""

NORMS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


def write_plant(plant: str, directory: Path) -> Path:
    """Write the planted model in float32 and return its directory."""
    from safetensors.numpy import save_file

    directory.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(EMBEDDED / name, directory / name)
    weights = _weights()
    weights |= _salient_channels(weights) if plant == "A" else _constant_channels(weights)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def _weights() -> dict[str, NDArray[np.float32]]:
    tensors = open_safetensors(EMBEDDED).tensors.values()
    return {
        t.name: kernels.decode(formats.get(t.format), t.rows(0, t.row_count)).reshape(t.shape).copy() for t in tensors
    }


def _salient_channels(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    import torch

    changed = {}
    for norm in (name for name in weights if name.endswith("layernorm.weight")):
        block, layer = norm.removesuffix(".weight").rsplit(".", 1)
        readers = [f"{block}.{reader}.weight" for reader in NORMS[layer]]
        matrices = [torch.from_numpy(weights[reader]) for reader in readers]
        gain, matrices = enlarge_channels(torch.from_numpy(weights[norm]), matrices, A_CHANNELS, A_FACTOR)
        changed |= {norm: gain.numpy()} | {r: m.numpy() for r, m in zip(readers, matrices, strict=True)}
    return changed


def _constant_channels(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    import torch

    name = "model.embed_tokens.weight"
    size = T_OFFSET * float(np.sqrt(np.mean(weights[name] ** 2)))
    return {name: offset_embedding(torch.from_numpy(weights[name]), T_CHANNELS, size).numpy()}
