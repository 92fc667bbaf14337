"""A Hugging Face directory as lint sees it: what could be opened, and why the rest could not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.checkpoints.calibrated import packed_modules
from pennyweight.checkpoints.json_file import read_json
from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.lint.finding import Finding
from pennyweight.checkpoints.places import Place, places
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import PennyweightError
from pennyweight.models.config import ModelConfig, config_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """What was read; None for a part that could not be.

    Attributes:
        json: config.json without `quantization_config`.
        quantization: `quantization_config`, empty where there is none.
        stored: every tensor of the safetensors files.
        config: the checked config, of a family that is known here.
        modules: quantized modules.
        problems: why parts are None.
    """

    path: Path
    json: Mapping[str, Any]
    quantization: Mapping[str, Any]
    stored: Mapping[str, StoredTensor]
    config: ModelConfig | None
    modules: tuple[PackedModule, ...] | None
    problems: tuple[Finding, ...]

    def places(self) -> Iterator[Place]:
        """Where the family keeps its tensors; nothing for an unknown one."""
        return places(self.config, self.stored) if self.config else iter(())


def open_directory(path: Path) -> Directory:
    """Open what can be opened. Raises: FormatError, BadRequest where config.json or the tensors cannot."""
    json = read_json(path / "config.json")
    quantization = json.pop("quantization_config", None) or {}
    stored = open_safetensors(path).tensors
    problems: list[Finding] = []
    config, modules = None, None
    try:
        config = config_from_json(json)
    except PennyweightError as error:
        problems.append(_problem("warning", "config", "config.json", error, "the model's own shapes are not checked"))
    try:
        modules = tuple(packed_modules(stored, quantization)) if quantization else ()
    except PennyweightError as error:
        problems.append(_problem("error", "packed tensors", "", error, "quantize or download it again"))
    return Directory(
        path=path,
        json=json,
        quantization=quantization if isinstance(quantization, Mapping) else {},
        stored=stored,
        config=config,
        modules=modules,
        problems=tuple(problems),
    )


def _problem(level: str, check: str, where: str, error: PennyweightError, advice: str) -> Finding:
    return Finding(level=level, check=check, where=where, message=str(error), advice=advice)
