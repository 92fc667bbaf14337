"""A config.json → an anatomy, exact where its architecture is known, bounds where it is not."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pennyweight.core.errors import UnsupportedModel
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.describe import anatomy_from_config

if TYPE_CHECKING:
    from pennyweight.containers.tensor import StoredTensor


def from_config(
    config: dict[str, Any],
    *,
    name: str,
    source: str,
    repository: str = "",
    stored: "Callable[[], Iterable[StoredTensor]]" = tuple,
) -> Anatomy:
    """The anatomy of a config.json; of an architecture that is not known, bounds.

    Args:
        stored: asked only then for the tensors of the checkpoint, which bound it more narrowly.

    Raises: FormatError where fields are missing, all of them named.
    """
    try:
        return anatomy_from_config(config, name=name, repository=repository, source=source)
    except UnsupportedModel as error:
        from pennyweight.models.bounds import bounded_anatomy  # here: most models are known
        from pennyweight.models.config_bounds import anatomy_within_bounds

        tensors = tuple(stored())
        if tensors:
            return bounded_anatomy(config, tensors, name=name, repository=repository, why=str(error))
        return anatomy_within_bounds(config, name=name, repository=repository, source=source, why=str(error))
