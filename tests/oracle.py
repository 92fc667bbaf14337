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
    assert spec is not None
    assert spec.origin is not None
    lib = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("xllamacpp*.so"))))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, _FLOATS, ctypes.c_void_p, *[ctypes.c_int64] * 3, _FLOATS]
    lib.ggml_row_size.restype = ctypes.c_size_t
    lib.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    lib.ggml_blck_size.restype = ctypes.c_int64
    lib.ggml_type_size.restype = ctypes.c_size_t
    lib.ggml_type_name.restype = ctypes.c_char_p
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


_NUMBERS = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}


def ggml_name(name: str) -> str:
    """Our name of a format as ggml spells it in its functions: `Q4_K` → `q4_K`, `IQ4_XS` → `iq4_xs`."""
    return name.lower().replace("_k", "_K")


def ggml_decode(name: str, data: NDArray[np.uint8], columns: int) -> NDArray[np.float32]:
    """`dequantize_row_<name>` (our spelling or ggml's; F16 and BF16 too) of uint8 (rows, row_bytes) → float32."""
    function = getattr(library(), _NUMBERS.get(name, f"dequantize_row_{ggml_name(name)}"))
    function.restype = None
    function.argtypes = [ctypes.c_void_p, _FLOATS, ctypes.c_int64]
    data = np.ascontiguousarray(data)
    out = np.empty((len(data), columns), np.float32)
    function(data.ctypes.data, _floats(out), out.size)
    return out


def hard_rows(columns: int, seed: int = 7) -> NDArray[np.float32]:
    """Float32 rows that reach the corners of the searches: random, heavy-tailed, constant, tiny, huge, sparse, tied.

    Some pass float16's range either way (scales become 0 or infinity), some hold zeros of both signs.
    """
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
        rng.standard_normal(columns) * 1e-41,
        rng.standard_normal(columns) * 1e7,
        np.where(rng.random(columns) < 0.5, 0.0, -0.0),
        np.where(
            rng.random(columns) < 0.2, rng.standard_normal(columns), np.where(rng.random(columns) < 0.5, 0.0, -0.0)
        ),
        np.where(rng.random(columns) < 0.04, -np.abs(rng.standard_normal(columns)), -0.0),
        np.where(rng.random(columns) < 0.04, np.abs(rng.standard_normal(columns)), -0.0),
    ]
    # Subnormal numbers are meant.
    with np.errstate(under="ignore"):
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
