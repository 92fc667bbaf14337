"""FP8 grids: E4M3 numbers times one float32 scale for each row or for the whole matrix.

    scale = max|w| / 448        w = scale · float8(code)

Codes here are places among the 253 finite values in ascending order (zero once), so that a method can count levels;
packing turns them into the bytes of the format. Halfway goes to the even mantissa, as every FP8 cast rounds.

Source: compressed-tensors `float-quantized` (strategies channel and tensor).
"""

from functools import partial

import numpy as np

from pennyweight.formats.base import Codes, Floats
from pennyweight.formats.codes import Float8Codes
from pennyweight.formats.fp8_e4m3 import FP8_E4M3, LARGEST
from pennyweight.formats.grid import Grid, Levels, Parameters

LARGEST_VALUE = np.float32(448)

BYTES: Codes = np.concatenate((np.arange(LARGEST, 0, -1) + 0x80, np.arange(LARGEST + 1))).astype(np.uint8)
"""The byte of each level, −448 first, +0 in the middle."""


def float8_grid(per_tensor: bool) -> Grid:
    """E4M3 with a scale per row, or one for the matrix."""
    return Grid(
        name="FP8_E4M3_TENSOR" if per_tensor else "FP8_E4M3",
        top=len(BYTES) - 1,
        group_size=0,
        unit=0,
        ragged=True,
        levels=float8_levels(),
        fit_rows=partial(_fit, per_tensor),
        pack_codes=partial(_pack, per_tensor),
        stored_bits=lambda rows, columns: 8 * rows * columns + 32 * (1 if per_tensor else rows),
    )


def float8_levels() -> Levels:
    """The finite values of E4M3; halfway between two belongs to the one with the even byte."""
    values = FP8_E4M3.decode(BYTES[None])[0]
    middle = ((values[1:] + values[:-1]) / 2).astype(np.float32)  # exact: one bit more than the mantissa
    upper_is_odd = BYTES[1:] % 2 == 1
    return Levels(values=values, thresholds=np.where(upper_is_odd, np.nextafter(middle, np.float32(np.inf)), middle))


def _fit(per_tensor: bool, weight: Floats, importance: Floats | None) -> Parameters:
    del importance  # a float's steps shrink toward zero: clipping its range gains nothing
    largest = np.abs(weight).max(axis=1, keepdims=True)
    if per_tensor:
        largest = np.full_like(largest, largest.max())
    step = (largest / LARGEST_VALUE).astype(np.float32)
    return Parameters(step=step, zero=np.zeros_like(step), minimum=np.zeros_like(step))


def _pack(per_tensor: bool, codes: Codes, parameters: Parameters) -> Float8Codes:
    scale = parameters.step[:1] if per_tensor else parameters.step
    return Float8Codes(format="FP8_E4M3", codes=BYTES[codes], scale=scale)
