"""How a model is asked to run: the knobs that llama.cpp has, by its names."""

from dataclasses import dataclass
from enum import StrEnum


class Runtime(StrEnum):
    """Whose memory and speed are planned."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way of running one model.

    Attributes:
        context: tokens per slot, `-c` divided by `-np`.
        slots: parallel sequences, `-np`.
        key_type, value_type: formats of the cache, `-ctk` and `-ctv`.
        flash_attention: `-fa`.
        micro_batch: `-ub`, tokens of a prompt that are computed at once.
        gpu_layers: `-ngl`; None for as many as fit.
        cpu_moe_layers: `--n-cpu-moe`, blocks whose experts stay on the host.
    """

    context: int
    slots: int = 1
    key_type: str = "F16"
    value_type: str = "F16"
    flash_attention: bool = True
    micro_batch: int = 512
    gpu_layers: int | None = None
    cpu_moe_layers: int = 0
