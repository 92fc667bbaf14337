"""A level of a sweep: its name, and what writes the model at that level. `jobs.measure_level` measures it.

A file type is one kind of level, written by `quantize` as a GGUF. Any other kind (a recipe, say) is one more function
that gives a `Level`: its `make` may write a GGUF, which llama.cpp scores and times, or a checkpoint directory in the
style of Hugging Face, with `suffix=""` and `engine="torch"`, which the torch engine scores and nothing times.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.jobs.quantize import QuantizeOptions, quantize
from pennyweight.recipes.file_types import get_file_type

GGUF = ".gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What making a level gave: bytes of its file (of all its files), stored bits of a weight, wall seconds."""

    bytes: int
    bits_per_weight: float
    weights: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level.

    Attributes:
        name: as tables and the store have it: `Q4_K_M`, `hadamard+gptq:Q3_K_S`.
        make: writes the model to the path it is given, which does not exist and ends with `suffix`.
        suffix: `.gguf` for a GGUF file, nothing for a directory.
        key: whatever else its weights depend on (settings, a calibration text's hash), for the journal.
        engine: of `scoring.ENGINES`, what scores it and the base it is compared with; None for the sweep's own.
    """

    name: str
    make: Callable[[Path], Made]
    suffix: str = GGUF
    key: str = ""
    engine: str | None = None

    @property
    def runs_in_llama_cpp(self) -> bool:
        """Whether llama.cpp can time it and let it write."""
        return self.suffix == GGUF

    def file_name(self, model: str) -> str:
        """The name of its file or directory in the sweep's, for a model of that name; no character a shell minds."""
        return f"{model.removesuffix(GGUF)}-{re.sub(r'[^A-Za-z0-9._+-]+', '_', self.name)}{self.suffix}"


def file_type_level(model: str, type: str, threads: int | None = None) -> Level:
    """MODEL quantized to a file type. Raises: UnknownName."""
    name = get_file_type(type).name

    def make(path: Path) -> Made:
        made = quantize(model, name, path, QuantizeOptions(threads=threads))
        return Made(bytes=made.bytes, bits_per_weight=made.bits_per_weight, weights=made.weights, seconds=made.seconds)

    return Level(name=name, make=make)
