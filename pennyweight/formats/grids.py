"""Grids by name: `INT4_G128`, `INT3_G128_ASYM`, `INT8`, `Q4_K`, `IQ4_XS`, `FP8_E4M3`."""

import re

from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.formats.grid import Grid
from pennyweight.formats.integer_grid import integer_grid

INTEGER = re.compile(r"INT(?P<bits>\d+)(?:_G(?P<group>\d+))?(?P<asymmetric>_ASYM)?")
INTEGER_BITS = (2, 3, 4, 8)
"""Widths that some checkpoint stores; 5 to 7 bits no loader outside compressed-tensors reads."""

EXAMPLES = ("INT4_G128", "INT4_G128_ASYM", "INT3_G128", "INT2_G64", "INT8")


def get(name: str) -> Grid:
    """The grid of that name, in any case. Raises: UnknownName; BadRequest for a width or group size nothing stores."""
    found = INTEGER.fullmatch(name.upper())
    if found is None:
        raise UnknownName.among("grid", name, EXAMPLES)
    bits, group = int(found["bits"]), int(found["group"] or 0)
    if bits not in INTEGER_BITS:
        raise BadRequest(f"{name}: integer grids have {', '.join(map(str, INTEGER_BITS))} bits, got {bits}")
    if found["group"] and (group < 8 or group % 8):
        raise BadRequest(f"{name}: a group is a multiple of 8 columns, got {group}; try _G128")
    return integer_grid(bits, group, symmetric=not found["asymmetric"])
