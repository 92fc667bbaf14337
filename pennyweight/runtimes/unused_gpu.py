"""A GPU that the installed llama.cpp cannot use, and the wheel that could: said instead of quietly taking the CPU."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.runtimes.llama_cpp.shared_object import PINNED, library

WHEELS = "https://xorbitsai.github.io/xllamacpp/whl"
"""Where xllamacpp's maintainers keep the wheels that the package index has not. Source: xllamacpp's README."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What a GPU's driver leaves in the file system, and the directory of `WHEELS` that is for it."""

    gpu: str
    file: Path
    wheel: str


DRIVERS = (
    Driver(gpu="NVIDIA", file=Path("/proc/driver/nvidia/version"), wheel="cu128"),
    Driver(gpu="AMD", file=Path("/dev/kfd"), wheel="rocm-7.2.4"),
)


def unused_gpu(drivers: Iterable[Driver] = DRIVERS) -> str | None:
    """One line about a GPU that is there and not used; None where there is none, or llama.cpp uses it."""
    found = next((driver for driver in drivers if driver.file.exists()), None)
    if found is None or library().llama_supports_gpu_offload():
        return None
    return (
        f"this llama.cpp is built for the CPU alone and does not use the {found.gpu} GPU of this machine; for it: "
        f"pip install --force-reinstall xllamacpp=={PINNED} --index-url {WHEELS}/{found.wheel} (or {WHEELS}/vulkan)"
    )
