"""What llama.cpp allocates, as it logs it: the weights of a model, the size of every part of a context's cache."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pennyweight.planner.request import Settings
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.shared_object import _log_callback, library
from pennyweight.runtimes.llama_cpp.structs import CACHE_TYPES, LOG_CALLBACK

_SIZE = re.compile(r"(K|V|R|S) \((\w+)\): +([0-9.]+) MiB")
_WEIGHTS = re.compile(r"model buffer size = +([0-9.]+) MiB")


def allocated_mib(path: Path, settings: Settings) -> dict[str, list[str]]:
    """`K`, `V` (attention) and `R`, `S` (state) → the MiB that each cache logged for it, as text of two decimals."""
    lib = library()
    with Model.load(path) as model, _logged() as lines:
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max = settings.context * settings.slots, settings.slots
        params.n_batch = params.n_ubatch = settings.micro_batch
        params.type_k, params.type_v = (CACHE_TYPES[t.lower()] for t in (settings.key_type, settings.value_type))
        params.flash_attn_type = int(settings.flash_attention)
        params.swa_full = False
        context = lib.llama_init_from_model(model.handle, params)
        assert context, "".join(lines)
        lib.llama_free(context)
    found: dict[str, list[str]] = {}
    for part, _, mib in _SIZE.findall("".join(lines)):
        found.setdefault(part, []).append(mib)
    return found


def model_buffer_mib(path: Path) -> float:
    """MiB of the buffers that a model's weights are read into."""
    with _logged() as lines, Model.load(path, use_mmap=False):
        return sum(float(mib) for mib in _WEIGHTS.findall("".join(lines)))


@contextmanager
def _logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def keep(_level: int, text: bytes | None, _data: Any) -> None:
        lines.append((text or b"").decode("utf-8", "replace"))

    callback = LOG_CALLBACK(keep)
    library().llama_log_set(callback, None)
    try:
        yield lines
    finally:
        library().llama_log_set(_log_callback, None)
