"""llama.cpp's C structs as ctypes, exactly those of build b11549 (xllamacpp 2026.10.11549), and their defaults.

Parameter structs travel by value, so a wrong layout is silent garbage. Each is therefore declared once, as rows of
(field, type, default), and the library refuses to work unless every field of the C defaults reads back as written here.

Source: llama.cpp include/llama.h `llama_model_params`, `llama_context_params`, `llama_batch`,
`llama_perf_context_data`; defaults: src/llama-model.cpp, src/llama-context.cpp.
"""

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_size_t,
    c_uint32,
    c_void_p,
)
from typing import Any, NamedTuple

LOG_CALLBACK = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
"""`ggml_log_callback`: (level, text, user data)."""

LOG_ERROR, LOG_CONTINUED = 4, 5

LOAD_MODE_NONE, LOAD_MODE_MMAP = 0, 1
FLASH_ATTENTION = {None: -1, False: 0, True: 1}
"""`llama_flash_attn_type`: None leaves it to llama.cpp, which takes it where every device can."""

CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "bf16": 30,
    "q8_0": 8,
    "q4_0": 2,
    "q4_1": 3,
    "iq4_nl": 20,
    "q5_0": 6,
    "q5_1": 7,
}
"""What keys and values may be stored in → ggml type id. Source: llama.cpp common/arg.cpp `kv_cache_types`."""

MAX_SEQUENCES = 256
"""Most sequences of one context. Source: llama.cpp src/llama-cparams.h `LLAMA_MAX_SEQ`."""

CELL_BYTES = 48
"""Bytes of bookkeeping for each token a cache can hold, at least: position, shift, extension, 256-bit sequence set.

Source: llama.cpp src/llama-kv-cells.h `llama_kv_cells`.
"""

QUANTIZED_CACHE_BLOCK = 32
"""Weights in one block of every quantized cache type; a head's width must be a multiple of it."""


class Field(NamedTuple):
    """One struct member and the value that the C library's defaults give it."""

    name: str
    type: Any
    default: Any


MODEL_FIELDS = (
    Field("devices", c_void_p, None),
    Field("tensor_buft_overrides", c_void_p, None),
    Field("n_gpu_layers", c_int32, -1),
    Field("split_mode", c_int, 1),
    Field("load_mode", c_int, -1),
    Field("lazy_mode", c_int, 1),
    Field("main_gpu", c_int32, 0),
    Field("tensor_split", c_void_p, None),
    Field("progress_callback", c_void_p, None),
    Field("progress_callback_user_data", c_void_p, None),
    Field("kv_overrides", c_void_p, None),
    Field("vocab_only", c_bool, False),
    Field("check_tensors", c_bool, False),
    Field("use_extra_bufts", c_bool, True),
    Field("no_host", c_bool, False),
    Field("no_alloc", c_bool, False),
    Field("load_mtp", c_bool, False),
)

CONTEXT_FIELDS = (
    Field("n_ctx", c_uint32, 512),
    Field("n_batch", c_uint32, 2048),
    Field("n_ubatch", c_uint32, 512),
    Field("n_seq_max", c_uint32, 1),
    Field("n_rs_seq", c_uint32, 0),
    Field("n_outputs_max", c_uint32, 0),
    Field("n_outputs_max_per_seq", c_uint32, 1),
    Field("n_threads", c_int32, 4),
    Field("n_threads_batch", c_int32, 4),
    Field("ctx_type", c_int, 0),
    Field("rope_scaling_type", c_int, -1),
    Field("pooling_type", c_int, -1),
    Field("attention_type", c_int, -1),
    Field("flash_attn_type", c_int, -1),
    Field("rope_freq_base", c_float, 0.0),
    Field("rope_freq_scale", c_float, 0.0),
    Field("yarn_ext_factor", c_float, -1.0),
    Field("yarn_attn_factor", c_float, -1.0),
    Field("yarn_beta_fast", c_float, -1.0),
    Field("yarn_beta_slow", c_float, -1.0),
    Field("yarn_orig_ctx", c_uint32, 0),
    Field("defrag_thold", c_float, -1.0),
    Field("cb_eval", c_void_p, None),
    Field("cb_eval_user_data", c_void_p, None),
    Field("type_k", c_int, 1),
    Field("type_v", c_int, 1),
    Field("moe_cache_size", c_size_t, 0),
    Field("abort_callback", c_void_p, None),
    Field("abort_callback_data", c_void_p, None),
    Field("embeddings", c_bool, False),
    Field("offload_kqv", c_bool, True),
    Field("no_perf", c_bool, True),
    Field("op_offload", c_bool, True),
    Field("swa_full", c_bool, True),
    Field("kv_unified", c_bool, False),
    Field("samplers", c_void_p, None),
    Field("n_samplers", c_size_t, 0),
    Field("ctx_other", c_void_p, None),
)


class ModelParams(Structure):
    """`llama_model_params`."""

    _fields_ = [(field.name, field.type) for field in MODEL_FIELDS]


class ContextParams(Structure):
    """`llama_context_params`."""

    _fields_ = [(field.name, field.type) for field in CONTEXT_FIELDS]


class Batch(Structure):
    """`llama_batch`: pointers to arrays of `n_tokens` each, which the caller keeps alive during the call."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class PerfData(Structure):
    """`llama_perf_context_data`: milliseconds and counts since the last reset."""

    _fields_ = [
        ("t_start_ms", c_double),
        ("t_load_ms", c_double),
        ("t_p_eval_ms", c_double),
        ("t_eval_ms", c_double),
        ("n_p_eval", c_int32),
        ("n_eval", c_int32),
        ("n_reused", c_int32),
    ]


def unexpected_defaults(params: Structure, fields: tuple[Field, ...]) -> list[str]:
    """`name=value (wanted default)` for every field of `params` that does not hold its default; empty when all do."""
    found = ((field, getattr(params, field.name)) for field in fields)
    return [f"{field.name}={value} (wanted {field.default})" for field, value in found if value != field.default]
