"""How kernels are compiled: strict float32, no lock held, once per machine and version of these sources.

Numba's cache looks at the one file that a kernel stands in, so after a change to a search that several kernels share
it would go on running the old machine code. The cache's directory is therefore named after all the sources that kernels
are made of: a change anywhere compiles anew.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba.core.config
import numba.extending
from numba import njit
from platformdirs import user_cache_path

intrinsic: Callable[..., Any] = numba.extending.intrinsic
"""For functions that emit LLVM code; typed here, as a type checker takes their first parameter for the caller's."""

lane_function: Callable[..., Any] = njit(error_model="numpy", forceinline=True)
"""For functions of lanes: compiled into the kernels that call them. Division by zero gives infinity, as in C."""

_SOURCES = ("kernels", "formats")  # a kernel freezes the layout and search constants of its format
_settings: Any = numba.core.config
_lock = threading.Lock()


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """For what Python calls: compiled at its first call, then cached on disk; runs without the interpreter's lock."""
    dispatcher = njit(error_model="numpy", nogil=True)(function)
    with _lock:  # Numba reads the directory from a global; ours is there only while this kernel is told of it
        before, _settings.CACHE_DIR = _settings.CACHE_DIR, str(cache_directory())
        try:
            dispatcher.enable_caching()
        finally:
            _settings.CACHE_DIR = before
    return dispatcher


@cache
def cache_directory() -> Path:
    """Where compiled kernels lie: below NUMBA_CACHE_DIR where that is set, else in the user's cache."""
    base = Path(_settings.CACHE_DIR) if _settings.CACHE_DIR else user_cache_path("pennyweight", appauthor=False)
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for source in sorted((Path(__file__).parents[1] / folder).glob("*.py")):
            digest.update(source.read_bytes())
    return base / "kernels" / digest.hexdigest()[:16]
