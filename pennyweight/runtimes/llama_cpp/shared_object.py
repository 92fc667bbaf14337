"""xllamacpp's shared object: found, checked against the pinned version, its functions given their C signatures.

The wheel's Python module is never imported (it starts a server stack); only llama.cpp's C functions inside its shared
object are called. llama.cpp's log is kept here instead of on stderr, so that a failed call can say why in one line.
"""

import atexit
import ctypes
import importlib.metadata
import importlib.util
import re
from collections import deque
from collections.abc import Callable
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from pennyweight.core.errors import Missing
from pennyweight.runtimes.llama_cpp.openmp import impatient_threads
from pennyweight.runtimes.llama_cpp.structs import (
    CONTEXT_FIELDS,
    LOG_CALLBACK,
    LOG_CONTINUED,
    LOG_ERROR,
    MODEL_FIELDS,
    Batch,
    ContextParams,
    ModelParams,
    PerfData,
    unexpected_defaults,
)

PINNED = "2026.10.11549"
"""The one version of xllamacpp whose structs are bound in `structs`."""

BUILD = f"b{PINNED.rsplit('.', 1)[1]}"
"""llama.cpp's build: the wheel's version ends in it, and its own build-number symbol is left 0."""

_TOKENS = POINTER(c_int32)

SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LOG_CALLBACK, c_void_p)),
    "llama_print_system_info": (c_char_p, ()),
    "llama_supports_gpu_offload": (c_bool, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_n_embd": (c_int32, (c_void_p,)),
    "llama_model_n_layer": (c_int32, (c_void_p,)),
    "llama_model_n_head": (c_int32, (c_void_p,)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_model_has_decoder": (c_bool, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    "llama_model_n_swa": (c_int32, (c_void_p,)),
    "llama_model_desc": (c_int32, (c_void_p, c_char_p, c_size_t)),
    "llama_model_size": (c_uint64, (c_void_p,)),
    "llama_model_n_params": (c_uint64, (c_void_p,)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, c_size_t)),
    "llama_vocab_type": (ctypes.c_int, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_get_text": (c_char_p, (c_void_p, c_int32)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_get_add_eos": (c_bool, (c_void_p,)),
    "llama_tokenize": (c_int32, (c_void_p, c_char_p, c_int32, _TOKENS, c_int32, c_bool, c_bool)),
    "llama_detokenize": (c_int32, (c_void_p, _TOKENS, c_int32, c_char_p, c_int32, c_bool, c_bool)),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx_seq": (c_uint32, (c_void_p,)),
    "llama_n_batch": (c_uint32, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_synchronize": (None, (c_void_p,)),
    "llama_get_logits": (POINTER(c_float), (c_void_p,)),
    "llama_perf_context": (PerfData, (c_void_p,)),
    "llama_perf_context_reset": (None, (c_void_p,)),
}
"""C function → (result, arguments). Source: llama.cpp include/llama.h at the pinned build."""

_errors: deque[str] = deque(maxlen=32)
_placements: deque[str] = deque(maxlen=1)
_levels: deque[int] = deque(maxlen=1)
_interrupts: deque[KeyboardInterrupt] = deque(maxlen=1)


def _keep_line(level: int, text: bytes | None, _: object) -> None:
    line = (text or b"").decode("utf-8", "replace")
    if level == LOG_CONTINUED:  # belongs to the line before, whatever its level was
        if _errors and LOG_ERROR in _levels:
            _errors[-1] += line
        return
    _levels.append(level)
    if level == LOG_ERROR:
        _errors.append(line)
    elif "offloaded" in line:
        _placements.append(line)


def _heard_from_c(level: int, text: bytes | None, more: object) -> None:
    try:
        _keep_line(level, text, more)
    except KeyboardInterrupt as ctrl_c:  # ctypes would print it and go on; `raise_interrupt` brings it up
        _interrupts.append(ctrl_c)


_log_callback = LOG_CALLBACK(_heard_from_c)  # module-level: C holds this pointer for as long as the process lives


@cache
def library() -> ctypes.CDLL:
    """llama.cpp's C functions, ready to call, logging to memory.

    Raises: Missing where xllamacpp is absent, of another version, or does not show the pinned version's defaults.
    """
    with impatient_threads():
        lib = ctypes.CDLL(str(_find()))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(lib, name, None)
        if function is None:
            raise Missing(f"xllamacpp {PINNED} on this machine does not export {name}; reinstall it")
        function.restype, function.argtypes = result, arguments
    _check_layout(lib)
    lib.llama_log_set(_log_callback, None)
    # Python's callback must not outlive Python: C++ destructors may still log while the process ends.
    atexit.register(lib.llama_log_set, LOG_CALLBACK(), None)
    lib.llama_backend_init()
    return lib


def system_info() -> str:
    """The instruction sets and features the loaded build uses, in llama.cpp's own words."""
    return library().llama_print_system_info().decode().strip(" |")


def raise_interrupt(close: Callable[[], None]) -> None:
    """After a call that logs: raise the Ctrl-C that fell into its log, once `close` has freed what the call made."""
    if _interrupts:
        close()
        raise _interrupts.pop()


def clear_log() -> None:
    """Forget what was logged, before a call whose failure is to be explained."""
    _errors.clear()
    _placements.clear()


def layers_offloaded() -> int:
    """Layers that llama.cpp says it put on a GPU when it last loaded a model, the output counted as one."""
    found = re.search(r"offloaded (\d+)/\d+ layers", _placements[-1]) if _placements else None
    return int(found[1]) if found else 0


def why() -> str:
    """llama.cpp's own reason for the last failure, one line: the first error logged since `clear_log`."""
    lines = [line.strip() for line in _errors if line.strip()]
    # The first line is the cause; those after it repeat "failed to load model" on the way up. It starts with the name
    # of the C function that logs it, which tells a person nothing.
    return re.sub(r"^\w+: ", "", " ".join(lines[0].split())) if lines else "no reason was given"


def _find() -> Path:
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        raise Missing(f"llama.cpp is not installed; pip install xllamacpp=={PINNED}")
    version = importlib.metadata.version("xllamacpp")
    if version != PINNED:
        raise Missing(f"xllamacpp {version} is installed, its C structs are bound for {PINNED}; install that version")
    found = sorted(Path(spec.origin).parent.glob("xllamacpp*.so")) or sorted(
        Path(spec.origin).parent.glob("xllamacpp*.pyd")
    )
    if not found:
        raise Missing(f"xllamacpp {version} has no shared object beside {spec.origin}; reinstall it")
    return found[0]


def _check_layout(lib: ctypes.CDLL) -> None:
    wrong = unexpected_defaults(lib.llama_model_default_params(), MODEL_FIELDS)
    wrong += unexpected_defaults(lib.llama_context_default_params(), CONTEXT_FIELDS)
    if wrong:
        raise Missing(f"xllamacpp {PINNED} on this machine has another struct layout: {', '.join(wrong[:4])}")
