"""Where a loaded model's layers live, in one line: nobody should find out by the fan that it was the processor."""

import ctypes

from pennyweight.runtimes.llama_cpp.library import library
from pennyweight.runtimes.llama_cpp.model import Model

_GPU_TYPES = (1, 2)
"""`ggml_backend_dev_type`: GPU, integrated GPU."""


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
    lib = library()
    lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    lib.ggml_backend_dev_get.restype, lib.ggml_backend_dev_get.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    lib.ggml_backend_dev_type.restype, lib.ggml_backend_dev_type.argtypes = ctypes.c_int, (ctypes.c_void_p,)
    for function in (lib.ggml_backend_dev_name, lib.ggml_backend_dev_description):
        function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_void_p,)
    devices = [lib.ggml_backend_dev_get(i) for i in range(lib.ggml_backend_dev_count())]
    gpus = [device for device in devices if lib.ggml_backend_dev_type(device) in _GPU_TYPES]
    return [
        f"{lib.ggml_backend_dev_name(gpu).decode()} ({lib.ggml_backend_dev_description(gpu).decode()})" for gpu in gpus
    ]
