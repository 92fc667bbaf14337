"""Where a loaded model's layers live, in one line: nobody should find out by the fan that it was the processor."""

from ctypes import CDLL, POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass

from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.llama_cpp.shared_object import library

_GPU_TYPES = (1, 2)
"""`ggml_backend_dev_type`: GPU, integrated GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A device as llama.cpp sees it, with its memory now."""

    name: str
    description: str
    free_bytes: int
    total_bytes: int


def placement(model: Model) -> str:
    """`all 28 layers on the CPU`, or `20 of 28 layers on CUDA0 (NVIDIA …), 8 on the CPU`."""
    layers, on_gpu = model.facts.n_layer, min(model.gpu_layers, model.facts.n_layer)
    if not on_gpu:
        return f"all {layers} layers on the CPU"
    where = ", ".join(gpu_names()) or "the GPU"
    if on_gpu == layers:
        output = "" if model.gpu_layers > layers else ", the output on the CPU"
        return f"all {layers} layers on {where}{output}"
    return f"{on_gpu} of {layers} layers on {where}, {layers - on_gpu} on the CPU"


def gpu_names() -> list[str]:
    """`CUDA0 (NVIDIA GeForce RTX 3060)` for every GPU that this llama.cpp can use."""
    return [f"{gpu.name} ({gpu.description})" for gpu in gpus()]


def gpus() -> list[Gpu]:
    """The GPUs that this llama.cpp can use."""
    lib = library()
    lib.ggml_backend_dev_count.restype = c_size_t
    lib.ggml_backend_dev_get.restype, lib.ggml_backend_dev_get.argtypes = c_void_p, (c_size_t,)
    lib.ggml_backend_dev_type.restype, lib.ggml_backend_dev_type.argtypes = c_int, (c_void_p,)
    for function in (lib.ggml_backend_dev_name, lib.ggml_backend_dev_description):
        function.restype, function.argtypes = c_char_p, (c_void_p,)
    lib.ggml_backend_dev_memory.restype = None
    lib.ggml_backend_dev_memory.argtypes = (c_void_p, POINTER(c_size_t), POINTER(c_size_t))
    devices = [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]
    return [_gpu(lib, device) for device in devices if lib.ggml_backend_dev_type(device) in _GPU_TYPES]


def _gpu(lib: CDLL, device: int) -> Gpu:
    free, total = c_size_t(), c_size_t()
    lib.ggml_backend_dev_memory(device, byref(free), byref(total))
    return Gpu(
        name=lib.ggml_backend_dev_name(device).decode(),
        description=lib.ggml_backend_dev_description(device).decode("utf-8", "replace"),
        free_bytes=free.value,
        total_bytes=total.value,
    )
