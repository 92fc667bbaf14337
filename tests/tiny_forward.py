"""What a tiny qwen3 or llama-shaped model computes, by definition: float64 NumPy, one sequence, no cache, no tricks."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.tiny_gguf import TinyShape, tiny_tensors


def forward(shape: TinyShape, tokens: ArrayLike) -> NDArray[np.float64]:
    """Logits, float64 (tokens, vocabulary), of a dense qwen3 `shape` reading int `tokens` from an empty context."""
    assert shape.architecture == "qwen3"
    assert not shape.experts
    w = {name: weights.astype(np.float64) for name, weights in tiny_tensors(shape)}
    x = w["token_embd.weight"][np.asarray(tokens)]
    for layer in range(shape.layers):
        part = {
            name.removeprefix(f"blk.{layer}."): value for name, value in w.items() if name.startswith(f"blk.{layer}.")
        }
        x, _ = block_forward(shape, part, x)
    return _norm(x, w["output_norm.weight"]) @ w["token_embd.weight" if shape.tied else "output.weight"].T


def block_forward(
    shape: TinyShape, part: dict[str, NDArray[np.float64]], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """One block on float64 (tokens, hidden), and what entered each of its linear layers on the way.

    Args:
        part: the block's weights by their name within it.
    """
    n = _norm(x, part["attn_norm.weight"])
    mixed = _mixed(shape, part, n)
    x = x + mixed @ part["attn_output.weight"].T
    h = _norm(x, part["ffn_norm.weight"])
    gate = h @ part["ffn_gate.weight"].T
    d = gate / (1 + np.exp(-gate)) * (h @ part["ffn_up.weight"].T)
    inputs = {"attn_q": n, "attn_output": mixed, "ffn_gate": h, "ffn_down": d}
    return x + d @ part["ffn_down.weight"].T, inputs


def _mixed(shape: TinyShape, part: dict[str, NDArray[np.float64]], x: NDArray[np.float64]) -> NDArray[np.float64]:
    count, width = len(x), shape.head_dim
    q, k, v = ((x @ part[f"attn_{name}.weight"].T).reshape(count, -1, width).swapaxes(0, 1) for name in "qkv")
    q, k = (_rotate(_norm(z, part[f"attn_{name}_norm.weight"])) for z, name in ((q, "q"), (k, "k")))
    k, v = (z.repeat(shape.heads // shape.kv_heads, axis=0) for z in (k, v))
    scores = q @ k.swapaxes(1, 2) / np.sqrt(width)
    scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (p / p.sum(-1, keepdims=True)) @ v
    return mixed.swapaxes(0, 1).reshape(count, -1)


def _norm(x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight


def _rotate(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotary positions over (heads, tokens, width), the two halves of a head as pairs, base 10,000."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)
