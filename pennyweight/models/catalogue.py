"""Published models by name, as the fields of their config.json that decide bytes and speed (see `published`).

Left out is what neither depends on (norm epsilons, dropout, token ids): a config from here says how large and how fast
a model is, never how to read its weights. The test adds up every parameter and compares with the published count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennyweight.core.errors import UnknownName
from pennyweight.models.published import ROWS, Row

if TYPE_CHECKING:
    from pennyweight.models.config import ModelConfig

_UNSAID = {"instruct", "it", "chat", "base", "hf", "meta", "nvidia", "bf16"}
"""Words of a name that change no shape: `Llama-3.1-8B-Instruct` is planned as `Llama-3.1-8B`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One model: what people call it, where it is published, and its config.json as far as it is needed."""

    name: str
    repository: str
    fields: Mapping[str, Any]

    @property
    def config(self) -> "ModelConfig":
        """The checked config. Raises: UnsupportedModel for a family that is planned, but not converted."""
        from pennyweight.models.config import config_from_json  # here: a plan asks for no config

        return config_from_json(self.fields)


def get(name: str) -> PublishedModel:
    """The model of that name or repository, in any case, with or without `-Instruct` and the like: `qwen3-8b`,
    `Qwen/Qwen3-8B`, `Llama-3.1-8B-Instruct`.

    Raises: UnknownName, the nearest names first.
    """
    found = find(name)
    if found is None:
        raise UnknownName.among("published model", name, (model.name for model in ALL))
    return found


def find(name: str) -> PublishedModel | None:
    """As `get`; None where there is none. A repository of somebody else's never stands for the publisher's."""
    lower, plain = name.lower(), plain_name(name)
    exact = (model for model in ALL if lower in (model.name.lower(), model.repository.lower()))
    return next(exact, None) or next((m for m in ALL if "/" not in name and plain == plain_name(m.name)), None)


def plain_name(name: str) -> str:
    """A name in lower case without the words that change no shape."""
    return "-".join(word for word in name.lower().replace(" ", "-").split("-") if word not in _UNSAID)


def _model(row: Row) -> PublishedModel:
    name = row.name or row.repository.split("/")[1]
    return PublishedModel(name=name, repository=row.repository, fields=row.fields)


ALL = tuple(map(_model, ROWS))
"""Every model of the catalogue."""
