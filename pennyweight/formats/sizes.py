"""What a block of each format holds and takes: weights and bytes. All that a plan needs of a format, without its codec.

Declared here once; `registry` checks at import that every layout has these bytes, and a test that ggml has.
"""

from collections.abc import Iterable

from pennyweight.core.errors import ShapeError, UnknownName

SIZES = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "FP8_E4M3": (1, 1),
    "FP8_E5M2": (1, 1),
    "Q8_0": (32, 34),
    "Q6_K": (256, 210),
    "Q5_K": (256, 176),
    "Q5_1": (32, 24),
    "Q5_0": (32, 22),
    "Q4_K": (256, 144),
    "Q4_1": (32, 20),
    "Q4_0": (32, 18),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "Q3_K": (256, 110),
    "Q2_K": (256, 84),
    "IQ1_S": (256, 50),
    "IQ1_M": (256, 56),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98),
    "IQ3_S": (256, 110),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
    "Q2_0": (64, 18),
    "I8": (1, 1),
    "I16": (1, 2),
    "I32": (1, 4),
    "I64": (1, 8),
    "F64": (1, 8),
}
"""Name → (weights, bytes) of one block."""


def block_size(name: str) -> int:
    """Weights in one block. Raises: UnknownName."""
    return _size(name)[0]


def row_bytes(name: str, columns: int) -> int:
    """Bytes of a row of `columns` weights. Raises: UnknownName; ShapeError where the row is not whole blocks."""
    weights, nbytes = _size(name)
    return whole_blocks(name, weights, columns) * nbytes


def whole_blocks(name: str, weights: int, columns: int) -> int:
    """Blocks of `weights` in a row of `columns`. Raises: ShapeError where it is not whole blocks."""
    if columns % weights:
        raise ShapeError(
            f"{name} needs rows in multiples of {weights} weights, got {columns}; "
            f"use {'Q8_0 (32)' if columns % 32 == 0 else 'F16'} or pad the row"
        )
    return columns // weights


def require_declared(formats: Iterable[tuple[str, int, int]]) -> None:
    """Name, weights and bytes of every format, against this table. A difference is a bug: ValueError."""
    found = {name: (weights, nbytes) for name, weights, nbytes in formats}
    if found != SIZES:
        different = sorted(set(found.items()) ^ set(SIZES.items()))
        raise ValueError(f"formats and their declared sizes differ: {different}")


def _size(name: str) -> tuple[int, int]:
    found = SIZES.get(name.upper())
    if found is None:
        raise UnknownName.among("format", name, SIZES)
    return found
