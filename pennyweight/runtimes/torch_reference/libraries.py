"""PyTorch and transformers, imported where work begins; without them, one line that says how to get them."""

import importlib.util

from pennyweight.core.errors import Missing

EXTRA = "pennyweight[torch]"
NEEDED = ("torch", "transformers")


def require_torch() -> None:
    """Raises: Missing, with the extra that brings what is absent. Imports nothing."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise Missing(f"the torch engine needs {' and '.join(absent)}: pip install '{EXTRA}'")


def versions() -> str:
    """Both versions, for a measurement's record."""
    import torch
    import transformers

    return f"torch {torch.__version__}, transformers {transformers.__version__}"
