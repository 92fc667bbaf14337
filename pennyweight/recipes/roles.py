"""What a tensor is for, and whether a file type touches it at all: both read from its name and shape, nothing else.

Source: llama.cpp b11549 llama-quant.cpp, `tensor_get_category` and `tensor_allows_quantization`.
"""

from enum import StrEnum
from functools import lru_cache


class Role(StrEnum):
    """The broad categories that file types tell apart; everything else is `OTHER`."""

    OUTPUT = "output"
    TOKEN_EMBD = "token_embd"
    ATTN_V = "attn_v"
    ATTN_K = "attn_k"
    ATTN_OUTPUT = "attn_output"
    FFN_UP = "ffn_up"
    FFN_GATE = "ffn_gate"
    FFN_DOWN = "ffn_down"
    OTHER = "other"


_WHOLE_NAMES = {
    "output.weight": Role.OUTPUT,
    "token_embd.weight": Role.TOKEN_EMBD,
    "per_layer_token_embd.weight": Role.TOKEN_EMBD,
}

_PARTS = (
    # A fused QKV and the second half of a low-rank KV hold the values too, so they get V's care.
    ("attn_qkv.weight", Role.ATTN_V),
    ("attn_kv_b.weight", Role.ATTN_V),
    ("attn_v.weight", Role.ATTN_V),
    ("attn_k.weight", Role.ATTN_K),
    ("attn_output.weight", Role.ATTN_OUTPUT),
    # Without ".weight": experts (`ffn_down_exps`, `ffn_down_shexp`) play the same part. The order matters for a fused
    # `ffn_gate_up_exps`, which counts as a gate.
    ("ffn_up", Role.FFN_UP),
    ("ffn_gate", Role.FFN_GATE),
    ("ffn_down", Role.FFN_DOWN),
)

MOST_NAMES = 1 << 14
"""Tensors whose names are remembered: a plan asks for each once a file type, and the largest models have some 2,000."""

_KEPT_NAMES = ("position_embd.weight", "token_types.weight")

_KEPT_PARTS = (
    ("a norm", ("_norm.weight",)),
    ("an expert router", ("ffn_gate_inp.weight", "ffn_gate_tid2eid.weight")),
    ("small", ("altup", "laurel", "per_layer_model_proj", "indexer.k_proj.weight", "indexer.q_proj.weight")),
    ("a short convolution", ("ssm_conv1d", "shortconv.conv.weight")),
    (
        "a small RWKV matrix",
        (
            *(f"time_mix_{part}.weight" for part in ("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2")),
            *(f"time_mix_{part}.weight" for part in ("g1", "g2", "decay_w1", "decay_w2", "lerp_fused")),
        ),
    ),
    ("a position bias", ("attn_rel_b.weight", ".position_embd", ".rel_pos")),
    ("part of a vision tower", ("sam.pos_embd", "sam.neck.", "sam.net_", ".patch_embd", ".patch_merger")),
    ("an audio codebook", ("a.rvq.codebook", "mm.a.code_embd")),
)

_KEPT_BY_ARCHITECTURE = {
    "glm5-next": (
        *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate"),
        *("indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight"),
        *("ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight"),
    ),
}


@lru_cache(MOST_NAMES)
def role_of(name: str) -> Role:
    """The role that a tensor's name says; the first part that matches decides."""
    if name in _WHOLE_NAMES:
        return _WHOLE_NAMES[name]
    return next((role for part, role in _PARTS if part in name), Role.OTHER)


@lru_cache(MOST_NAMES)
def kept_because(name: str, shape: tuple[int, ...], architecture: str) -> str | None:
    """Why a tensor stays in the format it is stored in, in words; None where a file type decides.

    Args:
        shape: NumPy order. Leading axes of length 1 do not count, as in ggml: (1, 4096) is a vector.
    """
    if _dimensions(shape) < 2:
        return "a vector"
    if not name.endswith("weight"):
        return "its name does not end in weight"
    if name in _KEPT_NAMES:
        return "positions or token types"
    if any(part in name for part in _KEPT_BY_ARCHITECTURE.get(architecture, ())):
        return f"small, in {architecture}"
    return next((reason for reason, parts in _KEPT_PARTS if any(part in name for part in parts)), None)


def _dimensions(shape: tuple[int, ...]) -> int:
    """Axes as ggml counts them: without leading ones of length 1."""
    return next((len(shape) - i for i, extent in enumerate(shape) if extent != 1), 1)
