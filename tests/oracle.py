"""The live oracle: ggml's own C routines, in the shared object of the prebuilt `xllamacpp` wheel, through ctypes."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOATS = ctypes.POINTER(ctypes.c_float)


@cache
def library() -> ctypes.CDLL:
    """xllamacpp's shared object; found without importing it, so that llama.cpp prints nothing."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec and spec.origin
    lib = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("xllamacpp*.so"))))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, _FLOATS, ctypes.c_void_p, *[ctypes.c_int64] * 3, _FLOATS]
    lib.ggml_row_size.restype = ctypes.c_size_t
    lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    lib.ggml_blck_size.restype = ctypes.c_int64
    lib.ggml_type_size.restype = ctypes.c_size_t
    return lib


def _floats(array: NDArray[np.float32]) -> "ctypes._Pointer[ctypes.c_float]":
    return array.ctypes.data_as(_FLOATS)


def ggml_encode(
    ggml_type: int, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """`ggml_quantize_chunk` of float32 (rows, columns) → uint8 (rows, row_bytes)."""
    rows = np.ascontiguousarray(rows, np.float32)
    count, columns = rows.shape
    out = np.zeros((count, library().ggml_row_size(ggml_type, columns)), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = library().ggml_quantize_chunk(
        ggml_type, _floats(rows), out.ctypes.data, 0, count, columns, None if weights is None else _floats(weights)
    )
    assert written == out.nbytes
    return out


def ggml_decode(name: str, data: NDArray[np.uint8], columns: int) -> NDArray[np.float32]:
    """`dequantize_row_<name>` (ggml's spelling: `q4_K`, `iq4_xs`) of uint8 (rows, row_bytes) → float32."""
    function = getattr(library(), f"dequantize_row_{name}")
    function.restype = None
    function.argtypes = [ctypes.c_void_p, _FLOATS, ctypes.c_int64]
    data = np.ascontiguousarray(data)
    out = np.empty((len(data), columns), np.float32)
    function(data.ctypes.data, _floats(out), out.size)
    return out


def hard_rows(columns: int, seed: int = 7) -> NDArray[np.float32]:
    """Float32 rows that reach the corners of the searches: random, heavy-tailed, constant, tiny, huge, sparse, tied."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.standard_normal(columns),
        rng.standard_t(3, columns),
        rng.standard_t(2, columns) * 0.02,
        rng.standard_normal(columns) * np.where(np.arange(columns) % 61 == 0, 50, 1),
        np.zeros(columns),
        np.full(columns, 0.37),
        np.full(columns, -1.25),
        rng.standard_normal(columns) * 1e-20,
        rng.standard_normal(columns) * 1e-7,
        rng.standard_normal(columns) * 1e4,
        np.abs(rng.standard_normal(columns)),
        -np.abs(rng.standard_normal(columns)),
        np.where(rng.random(columns) < 0.02, rng.standard_normal(columns), 0),
        np.where(np.arange(columns) == columns // 3, 3.0, 0),
        rng.integers(-4, 5, columns) * 0.125,
        np.where(rng.random(columns) < 0.5, 1.0, -1.0),
        np.repeat(rng.standard_normal(columns // 32), 32),
        rng.standard_normal(columns) * np.repeat(10.0 ** rng.integers(-9, 3, columns // 32), 32),
    ]
    return np.array(rows, np.float32)


def hard_importances(columns: int, seed: int = 11) -> dict[str, NDArray[np.float32]]:
    """Importance vectors: lognormal as real ones are, constant, partly zero, all zero, spiked, tiny."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(values, np.float32)
        for name, values in {
            "lognormal": np.exp(rng.standard_normal(columns) * 2),
            "ones": np.ones(columns),
            "partly zero": np.where(rng.random(columns) < 0.3, 0, rng.random(columns)),
            "all zero": np.zeros(columns),
            "spiked": np.where(np.arange(columns) % 97 == 0, 1e4, 1e-3),
            "tiny": rng.random(columns) * 1e-20,
        }.items()
    }
