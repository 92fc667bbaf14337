"""Grids of GGUF's formats: the format's own encoder fits the scales, a method chooses the codes, the bytes stay plain.

The encoder runs first, over whole blocks, and its scales and minimums, already rounded to the six bits and float16 that
a file holds, are read back; packing puts a method's codes in the place of the encoder's.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from pennyweight.formats.base import BlockFormat, CodeGrid, Codes, Floats
from pennyweight.formats.codes import BlockCodes
from pennyweight.formats.grid import Grid, Levels, Parameters

Encode = Callable[[BlockFormat, Floats, Floats | None], Codes]
"""(format, rows, importance) → bytes: `BlockFormat.encode`, or the compiled kernel that gives the same."""


def block_grid(format: BlockFormat, encode: Encode = BlockFormat.encode) -> Grid:
    """The grid of a GGUF format that has one. `encode` is what fits the scales."""
    if format.grid is None:
        raise ValueError(f"{format.name} has no codes that a method could choose")
    return Grid(
        name=format.name,
        top=format.grid.top,
        group_size=format.grid.group_size,
        unit=format.block_size,
        ragged=False,
        levels=None if format.grid.values is None else nearest_levels(format.grid.values),
        fit_rows=partial(_fit, format, format.grid, encode),
        fitted_codes=partial(_fitted_codes, format.grid),
        pack_codes=partial(_pack, format, format.grid),
        stored_bits=lambda rows, columns: 8 * rows * format.row_bytes(columns),
    )


def nearest_levels(values: Floats) -> Levels:
    """Levels with a number in the middle between two going to the upper one, as `codebook.nearest_code` has it."""
    return Levels(values=values, thresholds=((values[1:] + values[:-1]) / 2).astype(np.float32))


def _fit(format: BlockFormat, grid: CodeGrid, encode: Encode, weight: Floats, importance: Floats | None) -> Parameters:
    rows, columns = weight.shape
    data = encode(format, weight, importance)
    blocks = np.ascontiguousarray(data).view(format.layout).reshape(rows, columns // format.block_size)
    steps = grid.read_steps(blocks)
    step, zero, minimum = (
        np.ascontiguousarray(part.reshape(rows, -1), np.float32) for part in (steps.step, steps.zero, steps.minimum)
    )
    return Parameters(step=step, zero=zero, minimum=minimum, blocks=blocks)


def _fitted_codes(grid: CodeGrid, parameters: Parameters) -> Codes:
    assert parameters.blocks is not None
    return grid.read_codes(parameters.blocks).reshape(len(parameters.blocks), -1)


def _pack(format: BlockFormat, grid: CodeGrid, codes: Codes, parameters: Parameters) -> BlockCodes:
    assert parameters.blocks is not None
    blocks = parameters.blocks.copy()
    grid.write_codes(blocks, codes.reshape(*blocks.shape, format.block_size))
    return BlockCodes(format=format, data=blocks.view(np.uint8).reshape(len(codes), format.row_bytes(codes.shape[1])))
