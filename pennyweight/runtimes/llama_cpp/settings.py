"""The sizes and storage of a context, and the check that keeps llama.cpp from ending the process over them."""

import os
import sys
from dataclasses import dataclass

from pennyweight.core.errors import BadRequest, DoesNotFit, UnknownName, UnsupportedModel
from pennyweight.core.units import show_bytes
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.shared_object import library
from pennyweight.runtimes.llama_cpp.structs import CACHE_TYPES, CELL_BYTES, MAX_SEQUENCES, QUANTIZED_CACHE_BLOCK

MOST_THREADS = 512
"""llama.cpp's GGML_MAX_N_THREADS; more end the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """Sizes and storage of a context; the defaults are llama.cpp's.

    Attributes:
        n_ctx: tokens that **each** sequence can hold; llama.cpp rounds it up to a multiple of 256.
        n_batch: tokens that one `decode` may bring, at most n_ctx · n_seq_max.
        n_ubatch: tokens that are computed at once; memory against speed, never the result beyond rounding.
        n_seq_max: sequences that live side by side.
        threads: threads of computation; None takes the cores this process may use.
        type_k, type_v: what keys and values are stored in, of `CACHE_TYPES`.
        flash_attention: None leaves it to llama.cpp. A quantized `type_v` needs it.
    """

    n_ctx: int = 512
    n_batch: int = 2048
    n_ubatch: int = 512
    n_seq_max: int = 1
    threads: int | None = None
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool | None = None


def check_settings(model: Model, settings: ContextSettings) -> None:
    """Everything about `settings` that llama.cpp would answer with an abort. Raises: BadRequest, UnsupportedModel."""
    if model.closed:
        raise ValueError(f"{model.path}: the model is closed")
    if model.vocabulary_only:
        raise BadRequest(f"{model.path}: only its vocabulary was loaded; a context needs the weights")
    lib = library()
    if lib.llama_model_has_encoder(model.handle) or not lib.llama_model_has_decoder(model.handle):
        raise UnsupportedModel(f"{model.path}: a decoder-only model is wanted")
    if not 1 <= settings.n_seq_max <= MAX_SEQUENCES:
        raise BadRequest(f"n_seq_max={settings.n_seq_max}; 1 to {MAX_SEQUENCES} sequences are wanted")
    if not 1 <= settings.n_ctx * settings.n_seq_max < 2**31:
        raise BadRequest(f"n_ctx={settings.n_ctx} × {settings.n_seq_max} sequences; 1 to 2^31 tokens are wanted")
    # A cell costs this much before any key is stored, and llama.cpp fills a minute's worth of cells before it gives up.
    books = settings.n_ctx * settings.n_seq_max * CELL_BYTES
    if books > physical_memory():
        raise DoesNotFit(
            f"n_ctx={settings.n_ctx} × {settings.n_seq_max} sequences: llama.cpp's bookkeeping alone takes "
            f"{show_bytes(books)}; this machine has {show_bytes(physical_memory())}"
        )
    if not settings.n_seq_max <= settings.n_batch < 2**31 or settings.n_ubatch < 1:
        raise BadRequest(
            f"n_batch={settings.n_batch}, n_ubatch={settings.n_ubatch}; n_batch of at least n_seq_max "
            f"({settings.n_seq_max}) and n_ubatch of at least 1 are wanted"
        )
    check_threads(settings.threads)
    for cache_type in (settings.type_k, settings.type_v):
        _check_cache_type(model, cache_type)
    if _quantized(settings.type_v) and settings.flash_attention is False:
        raise BadRequest(f"a {settings.type_v} cache of values needs flash attention, which is switched off")


def check_threads(threads: int | None) -> None:
    """Raises: BadRequest for more threads than llama.cpp can have, which would end the process, or fewer than one."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise BadRequest(f"{threads} threads; 1 to {MOST_THREADS} are wanted")


def _check_cache_type(model: Model, cache_type: str) -> None:
    if cache_type not in CACHE_TYPES:
        raise UnknownName.among("cache type", cache_type, CACHE_TYPES)
    width = _head_width(model)
    if _quantized(cache_type) and width % QUANTIZED_CACHE_BLOCK:
        raise BadRequest(
            f"{model.path}: a {cache_type} cache needs heads in multiples of {QUANTIZED_CACHE_BLOCK}, "
            f"these are {width} wide; use f16"
        )


def physical_memory() -> int:
    """Bytes of memory in this machine; unbounded where the system does not say."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _quantized(cache_type: str) -> bool:
    return cache_type not in ("f32", "f16", "bf16")


def _head_width(model: Model) -> int:
    key_length = model.metadata(f"{model.metadata('general.architecture')}.attention.key_length")
    heads = max(1, library().llama_model_n_head(model.handle))
    return int(key_length) if key_length else model.facts.n_embd // heads
