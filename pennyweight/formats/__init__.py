"""Number formats: how rows of weights become bytes, one file each, in readable NumPy that is the truth for the kernels.

What `registry` has is offered here, imported when first used: who asks for sizes alone (`sizes`) needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pennyweight.formats.registry import *  # noqa: F403 -- everything it has, as __getattr__ gives it


def __getattr__(name: str) -> Any:
    """A name of the registry; a name that it has not may be one of the package's modules."""
    if not name.startswith("_"):
        registry = import_module("pennyweight.formats.registry")
        if hasattr(registry, name):
            return globals().setdefault(name, getattr(registry, name))
    raise AttributeError(f"module 'pennyweight.formats' has no attribute {name!r}")
