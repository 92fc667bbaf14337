"""Codes of any kind by plain round-to-nearest, for tests of layouts: no method of the package has a part in them."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.scheme import Codes
from pennyweight.formats.codes import Float8Codes, IntegerCodes
from pennyweight.formats.spqr_codes import SpQRCodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What codes to make; `group_size` 0 is a scale per row; the last two are FP8's."""

    bits: int = 4
    group_size: int = 16
    symmetric: bool = True
    per_tensor: bool = False
    input_scale: float | None = None


USUAL = Wish()


def integers(weight: NDArray[np.float32], wish: Wish) -> IntegerCodes:
    rows, columns = weight.shape
    size = wish.group_size or columns
    groups = weight.reshape(rows, -1, size)
    top = 2**wish.bits - 1
    if wish.symmetric:
        scale = np.abs(groups).max(axis=2) / (2 ** (wish.bits - 1) - 1)
        zero = np.full(scale.shape, 2 ** (wish.bits - 1), np.float32)
    else:
        low, high = np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)
        scale = (high - low) / top
        zero = np.rint(-low / scale)
    scale = scale.astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(groups / scale[..., None]) + zero[..., None], 0, top)
    return IntegerCodes(
        bits=wish.bits,
        group_size=size,
        symmetric=wish.symmetric,
        codes=codes.reshape(rows, columns).astype(np.uint8),
        scale=scale,
        zero_point=zero.astype(np.uint8),
    )


def float8(weight: NDArray[np.float32], per_tensor: bool = False, input_scale: float | None = None) -> Float8Codes:
    largest = np.abs(weight).max(axis=None if per_tensor else 1, keepdims=True)
    scale = (largest / 448).astype(np.float32)
    codes = (weight / scale).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    return Float8Codes(format="FP8_E4M3", codes=codes, scale=scale, input_scale=input_scale)


def spqr(weight: NDArray[np.float32], rng: np.random.Generator) -> SpQRCodes:
    """Random two-level codes in the weight's range, and the weights that they miss most as outliers."""
    rows, columns = weight.shape
    spread = np.abs(weight).max()
    second = np.empty((rows // 16, columns // 16, 4), np.float32)
    second[...] = np.array([spread / 20, -0.5, 0.6, 0.25]) * rng.uniform(0.9, 1.1, second.shape)
    codes = SpQRCodes(
        codes=rng.integers(0, 8, (rows, columns), np.uint8),
        scale_codes=rng.integers(0, 8, (rows, columns // 16), np.uint8),
        zero_codes=rng.integers(0, 8, (rows, columns // 16), np.uint8),
        second=second.astype(np.float16).astype(np.float32),
        outlier_offsets=np.arange(rows + 1) * 2,
        outlier_columns=np.sort(np.argsort(rng.random((rows, columns)), axis=1)[:, :2], axis=1)
        .reshape(-1)
        .astype("i4"),
        outlier_values=np.zeros(2 * rows, np.float32),
    )
    at = np.repeat(np.arange(rows), 2), codes.outlier_columns
    codes.outlier_values[...] = weight[at]
    return codes


def nearest(weight: NDArray[np.float32], layout: str, wish: Wish = USUAL) -> Codes:
    """Codes that `layout` carries."""
    if layout == "float-quantized":
        return float8(weight, wish.per_tensor, wish.input_scale)
    if layout == "spqr":
        return spqr(weight, np.random.default_rng(weight.size))
    if layout in ("int-quantized", "bitsandbytes"):
        return integers(weight, Wish(bits=8, group_size=0))
    return integers(weight, wish)
