"""MODEL, as a person writes it → an `Anatomy`: a catalogue name, a file, a directory, or a repository on the Hub."""

import json
import re
from pathlib import Path
from typing import Any

from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.models import catalogue
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.describe import anatomy_from_config
from pennyweight.planner.from_config import from_config

_REPOSITORY = re.compile(r"(?:https://)?(?:hf\.co/|huggingface\.co/)?([\w.-]+/[\w.-]+?)(?::([\w-]+))?$")

MAX_CONFIG_BYTES = 16 << 20
"""The largest config.json in circulation has some hundred kilobytes."""


def resolve(model: str, *, offline: bool = False) -> Anatomy:
    """The anatomy of MODEL, without reading a weight.

    Args:
        model: `Qwen3-8B`, `./model.gguf`, `./checkpoint`, `./config.json`, `user/repo`, `hf.co/user/repo:Q4_K_M`.
        offline: ask nobody; headers that were read before are taken from the cache.

    Raises:
        UnknownName: no catalogue name, and nothing else that could be meant; the nearest names are offered.
        BadRequest, FormatError: what is there cannot be read, or not planned.
    """
    path = Path(model)
    if model and path.is_dir():
        return _from_directory(path)
    if path.is_file():
        return _from_file(path)
    if path.suffix in (".gguf", ".json", ".safetensors") or model.startswith((".", "/", "~")):
        raise BadRequest(f"no such file: {model}")
    return _named(model, offline)


def _named(model: str, offline: bool) -> Anatomy:
    """A name of the catalogue, or a repository; a publisher's own repository is in the catalogue too."""
    repository = _REPOSITORY.match(model)
    if catalogue.find(repository[1] if repository and not repository[2] else model) or not repository:
        return from_catalogue(repository[1] if repository else model)
    from pennyweight.containers.hub import default_hub
    from pennyweight.planner.hub import hub_anatomy

    return hub_anatomy(default_hub(offline), repository[1], repository[2])


def from_catalogue(name: str) -> Anatomy:
    """A published model by name or repository, in any case. Raises: UnknownName."""
    found = catalogue.get(name)
    return anatomy_from_config(found.fields, name=found.name, repository=found.repository, source="catalogue")


def _from_file(path: Path) -> Anatomy:
    if path.suffix == ".gguf":
        from pennyweight.containers.gguf_reader import open_gguf  # here: a published name needs no reader
        from pennyweight.models.from_gguf import anatomy_from_gguf

        return anatomy_from_gguf(open_gguf(path), name=path.stem, source=f"GGUF header of {path}")
    if path.suffix == ".json":
        return from_config(read_config(path), name=path.parent.name or path.stem, source=str(path))
    if path.suffix == ".safetensors":
        return _from_directory(path.parent)
    raise BadRequest(f"{path} is none of a .gguf file, a config.json and a .safetensors file")


def _from_directory(path: Path) -> Anatomy:
    from pennyweight.containers.safetensors import INDEX, SINGLE, open_safetensors

    config = path / "config.json"
    if not config.is_file():
        raise BadRequest(f"{path} has no config.json, which says what its tensors are")
    fields, name = read_config(config), path.resolve().name
    has_weights = any((path / file).is_file() for file in (SINGLE, INDEX))
    return from_config(
        fields,
        name=name,
        source=str(config),
        stored=lambda: open_safetensors(path).tensors.values() if has_weights else (),
    )


def read_config(path: Path) -> dict[str, Any]:
    """A config.json, bounded. Raises: FormatError where it is too large, no JSON, or no object."""
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise FormatError(f"{path} has {size} bytes; a config.json has at most {MAX_CONFIG_BYTES}")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise FormatError(f"{path}: a JSON object is wanted, got {type(found).__name__}")
    return found
