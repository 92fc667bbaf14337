"""How the PyTorch engine runs, and the check of what a caller asks for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pennyweight.core.errors import BadRequest, DoesNotFit, UnknownName

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16")
_TOKENS_ABREAST = 2048
"""Tokens computed at once where a caller does not say: llama.cpp's n_batch, so that the two read alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSettings:
    """How to run; none of these changes a result beyond rounding, except `dtype`, which is the rounding.

    Attributes:
        n_ctx: tokens of a chunk.
        abreast: chunks computed at once; None for as many as make 2048 tokens.
        dtype: of weights and activations. float32 is the reference; bfloat16 halves the memory, is exact for weights
            stored in it, and rounds every activation to 8 significant bits.
        device: `cpu`, `cuda`, `cuda:1` …; `auto` is CUDA where there is one.
        blockwise: one decoder block's weights in memory at a time; None chooses by `memory_bytes`.
        memory_bytes: what weights and activations may take together on the device; None for four fifths of what is
            free.
        threads: of PyTorch, for the whole process; None leaves them as they are.
    """

    n_ctx: int = 512
    abreast: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    blockwise: bool | None = None
    memory_bytes: int | None = None
    threads: int | None = None

    @property
    def group(self) -> int:
        """Chunks computed at once."""
        return self.abreast or max(1, _TOKENS_ABREAST // self.n_ctx)


def check_settings(settings: TorchSettings) -> None:
    """Raises: BadRequest, UnknownName."""
    if settings.dtype not in DTYPES:
        raise UnknownName.among("dtype", settings.dtype, DTYPES)
    if settings.n_ctx < 4:
        raise BadRequest(f"a context of {settings.n_ctx} tokens scores nothing; at least 4 are wanted")
    for name, value in (
        ("abreast", settings.abreast),
        ("threads", settings.threads),
        ("memory", settings.memory_bytes),
    ):
        if value is not None and value < 1:
            raise BadRequest(f"{name} is {value}; at least 1 is wanted")


def device_of(settings: TorchSettings) -> "torch.device":
    """The device. Raises: BadRequest for a name that PyTorch does not know; DoesNotFit for one that is not here."""
    import torch

    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(settings.device)
    except RuntimeError as error:
        raise BadRequest(f"no device {settings.device!r}; wanted auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DoesNotFit(f"{settings.device}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; use cpu")
    return device
