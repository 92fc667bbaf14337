"""What enters each weight matrix while llama.cpp reads text: Σ x² for every input column, for importance matrices.

llama.cpp's evaluation callback is asked before each operation whether its result is wanted, and called again once it is
computed; the inputs of a matrix multiplication are then still in memory. Works for every architecture that llama.cpp
runs, experts included (a token counts for the experts it was sent to).

Source: llama.cpp tools/imatrix/imatrix.cpp `IMatrixCollector::collect_imatrix` (the sums here are float64, there
float32); ggml/include/ggml.h `struct ggml_tensor`.
"""

import ctypes
from ctypes import POINTER, c_bool, c_char, c_int, c_int32, c_int64, c_size_t, c_void_p

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadWeights, Missing
from pennyweight.runtimes.llama_cpp.shared_object import PINNED, library

EVALUATION_CALLBACK = ctypes.CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)
"""`ggml_backend_sched_eval_callback`: (tensor, asking, user data) → wanted / go on."""

FEWEST_ROWS = 16
"""Smaller batches are left out, as llama-imatrix does: they are the tail of a generation, not text."""

_F32, _OBJECT_BYTES = 0, 32


class Tensor(ctypes.Structure):
    """`ggml_tensor` of the pinned build; its size is checked before use."""


Tensor._fields_ = [
    ("type", c_int),
    ("buffer", c_void_p),
    ("ne", c_int64 * 4),
    ("nb", c_size_t * 4),
    ("op", c_int),
    ("op_params", c_int32 * 16),
    ("flags", c_int32),
    ("src", POINTER(Tensor) * 10),
    ("view_src", c_void_p),
    ("view_offs", c_size_t),
    ("data", c_void_p),
    ("name", c_char * 64),
    ("extra", c_void_p),
    ("padding", c_char * 8),
]


class ActivationSums:
    """Collects Σ x² by weight tensor; give `callback` to a `Context` and decode.

    Attributes:
        sums: weight name → float64 (matrices, columns).
        counts: weight name → int64 (matrices,), rows that met each matrix.
        callback: for `Context(model, settings, evaluation_callback=…)`; must live as long as the context.
    """

    def __init__(self, *, with_output: bool = False) -> None:
        """`with_output`: also collect for output.weight, which llama-imatrix leaves out by default."""
        self.sums: dict[str, NDArray[np.float64]] = {}
        self.counts: dict[str, NDArray[np.int64]] = {}
        self.callback = EVALUATION_CALLBACK(self._called_from_c)
        self._outside_blocks = {"output.weight", "token_embd.weight"} if with_output else set()
        self._error: BaseException | None = None
        self._lib = library()
        self._lib.ggml_op_name.restype, self._lib.ggml_op_name.argtypes = ctypes.c_char_p, (c_int,)
        self._lib.ggml_tensor_overhead.restype = c_size_t
        if ctypes.sizeof(Tensor) + _OBJECT_BYTES != self._lib.ggml_tensor_overhead():
            raise Missing(f"xllamacpp {PINNED} on this machine has another ggml_tensor layout")

    def raise_error(self) -> None:
        """Raise what went wrong inside the callback, where an exception cannot pass through C."""
        if self._error:
            raise self._error

    def _called_from_c(self, address: int, asking: bool, _: object) -> bool:
        try:
            tensor = ctypes.cast(address, POINTER(Tensor)).contents
            op = self._lib.ggml_op_name(tensor.op)
            if asking:
                return self._is_wanted(tensor, op)
            self._collect(tensor, routed=op == b"MUL_MAT_ID")
        except BaseException as error:  # noqa: BLE001 -- nothing may pass through C, Ctrl-C neither; see raise_error
            self._error = self._error or error
            return False  # which ends the computation where it stands
        return True

    def _is_wanted(self, tensor: Tensor, op: bytes) -> bool:
        if op not in (b"MUL_MAT", b"MUL_MAT_ID"):
            return False
        name, inputs = _weight_name(tensor), tensor.src[1].contents
        enough = op == b"MUL_MAT_ID" or inputs.ne[1] >= FEWEST_ROWS
        return (name.startswith("blk.") or name in self._outside_blocks) and enough and inputs.type == _F32

    def _collect(self, tensor: Tensor, routed: bool) -> None:
        name, weight = _weight_name(tensor), tensor.src[0].contents
        x = self._array(tensor.src[1].contents, np.float32)  # (ne3, ne2, ne1, columns)
        if routed:
            experts = self._array(tensor.src[2].contents, np.int32)[0, 0]  # (tokens, used)
            inputs = np.broadcast_to(x[0], (*experts.shape, x.shape[-1]))  # one row for all experts, or one for each
            matrices = weight.ne[2]
            rows, owners = inputs.reshape(-1, x.shape[-1]), experts.reshape(-1)
        else:
            matrices = weight.ne[2] * weight.ne[3]
            outer3, outer2 = np.indices(x.shape[:2])
            owner = (outer3 % weight.ne[3]) * weight.ne[2] + outer2 % weight.ne[2]
            rows, owners = x.reshape(-1, x.shape[-1]), np.repeat(owner.reshape(-1), x.shape[2])
        sums = self.sums.setdefault(name, np.zeros((matrices, x.shape[-1])))
        counts = self.counts.setdefault(name, np.zeros(matrices, np.int64))
        for matrix in np.unique(owners):
            mine = rows if matrices == 1 else rows[owners == matrix]
            sums[matrix] += np.einsum("ij,ij->j", mine, mine, dtype=np.float64)
            counts[matrix] += len(mine)
        if not np.isfinite(sums).all():
            raise BadWeights(f"the inputs of {name} hold NaN or infinity; the model or the text is broken")

    def _array(self, tensor: Tensor, dtype: type) -> NDArray:
        """The tensor's values in host memory, NumPy (ne3, ne2, ne1, ne0); a view where they are there already."""
        lib = self._lib
        lib.ggml_nbytes.restype, lib.ggml_nbytes.argtypes = c_size_t, (c_void_p,)
        lib.ggml_backend_buffer_is_host.restype, lib.ggml_backend_buffer_is_host.argtypes = c_bool, (c_void_p,)
        lib.ggml_backend_tensor_get.argtypes = (c_void_p, c_void_p, c_size_t, c_size_t)
        size, address = lib.ggml_nbytes(ctypes.addressof(tensor)), tensor.data
        if not lib.ggml_backend_buffer_is_host(tensor.buffer):
            copy = ctypes.create_string_buffer(size)
            lib.ggml_backend_tensor_get(ctypes.addressof(tensor), copy, 0, size)
            raw = memoryview(copy)
        else:
            raw = memoryview((c_char * size).from_address(address))
        return np.ndarray(tuple(tensor.ne[::-1]), dtype, raw.cast("B"), strides=tuple(tensor.nb[::-1]))


def _weight_name(tensor: Tensor) -> str:
    """Name of the weight; a copy on another device is called `CUDA0#blk.0.attn_k.weight#0`."""
    name = tensor.src[0].contents.name.decode("utf-8", "replace")
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name
