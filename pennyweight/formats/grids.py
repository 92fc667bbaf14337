"""Grids by name: `INT4_G128`, `INT3_G128_ASYM`, `INT8`, `Q4_K`, `IQ4_XS`, `FP8_E4M3`."""

import re

from pennyweight import formats
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.block_grid import Encode, block_grid
from pennyweight.formats.float8_grid import float8_grid
from pennyweight.formats.grid import Grid
from pennyweight.formats.integer_grid import ScaleSearch, integer_grid, search_scale

INTEGER = re.compile(r"INT(?P<bits>\d+)(?:_G(?P<group>\d+))?(?P<asymmetric>_ASYM)?")
INTEGER_BITS = (2, 3, 4, 8)
"""Widths that some checkpoint stores; 5 to 7 bits no loader outside compressed-tensors reads."""

BLOCK_FORMATS = tuple(format.name for format in formats.ALL if format.grid is not None)
EXAMPLES = ("INT4_G128", "INT4_G128_ASYM", "INT3_G128", "INT2_G64", "INT8", "FP8_E4M3", "FP8_E4M3_TENSOR")


def get(name: str, encode: Encode = BlockFormat.encode, search: ScaleSearch = search_scale) -> Grid:
    """The grid of that name, in any case.

    Args:
        encode, search: what fits GGUF formats and searches integer scales; `pennyweight.kernels.grids` has fast ones.

    Raises: UnknownName; BadRequest for a width or group size that nothing stores.
    """
    wanted = name.upper()
    if wanted in BLOCK_FORMATS:
        return block_grid(formats.get(wanted), encode)
    if wanted in ("FP8_E4M3", "FP8_E4M3_TENSOR"):
        return float8_grid(per_tensor=wanted.endswith("TENSOR"))
    found = INTEGER.fullmatch(wanted)
    if found is None:
        raise UnknownName.among("grid", name, (*EXAMPLES, *BLOCK_FORMATS))
    bits, group = int(found["bits"]), int(found["group"] or 0)
    if bits not in INTEGER_BITS:
        raise BadRequest(f"{name}: integer grids have {', '.join(map(str, INTEGER_BITS))} bits, got {bits}")
    if found["group"] and (group < 8 or group % 8):
        raise BadRequest(f"{name}: a group is a multiple of 8 columns, got {group}; try _G128")
    return integer_grid(bits, group, symmetric=not found["asymmetric"], search=search)
