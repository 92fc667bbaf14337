"""Where a format's fields lie in a block, for kernels, which see bytes and no structured arrays."""

from typing import LiteralString

import numpy as np


def offsets(layout: np.dtype, *names: LiteralString) -> tuple[int, ...]:
    """Byte offsets of the fields `names` in a block of `layout`."""
    assert layout.fields, f"{layout} is not a structured dtype"
    return tuple(layout.fields[name][1] for name in names)
