"""What a layout has to know of a quantized matrix, before there are codes: the kind of number and its groups."""

from dataclasses import dataclass
from enum import Enum

from pennyweight.formats.codes import Float8Codes, IntegerCodes
from pennyweight.formats.spqr_codes import SPQR_TILE, SpQRCodes

Codes = IntegerCodes | Float8Codes | SpQRCodes
"""What a layout can be given; GGUF's blocks go into GGUF."""


class Kind(Enum):
    """Kinds of codes, one for each class of `formats.codes`."""

    INTEGER = "integer"
    FLOAT8 = "float8"
    SPQR = "spqr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How a matrix is quantized.

    Attributes:
        kind: which class of codes.
        bits: width of a code.
        group_size: columns that share a scale; None where a row, or the whole matrix, has one.
        symmetric: all zero points are 2^(bits − 1) (integers); always true of FP8.
        per_tensor: one scale for the whole matrix (FP8).
        static_input: activations have a stored scale (FP8); else they are scaled token by token, or not rounded.
    """

    kind: Kind
    bits: int
    group_size: int | None = None
    symmetric: bool = True
    per_tensor: bool = False
    static_input: bool = False

    @property
    def label(self) -> str:
        """As `inspect` shows it: `INT4_G128`, `INT3_G64_ASYM`, `INT8`, `FP8_E4M3`, `SPQR3`, `SPQR3_G32`."""
        if self.kind is Kind.INTEGER:
            group = f"_G{self.group_size}" if self.group_size else ""
            return f"INT{self.bits}{group}" + ("" if self.symmetric else "_ASYM")
        if self.kind is Kind.FLOAT8:
            return "FP8_E4M3"
        return f"SPQR{self.bits}" + ("" if self.group_size == SPQR_TILE else f"_G{self.group_size}")


def scheme_of(codes: Codes) -> Scheme:
    """The scheme that codes follow."""
    if isinstance(codes, IntegerCodes):
        whole_row = codes.group_size >= codes.codes.shape[1]
        group_size = None if whole_row else codes.group_size
        return Scheme(kind=Kind.INTEGER, bits=codes.bits, group_size=group_size, symmetric=codes.symmetric)
    if isinstance(codes, Float8Codes):
        static = codes.input_scale is not None
        per_tensor = codes.scale.shape[0] == 1 and codes.codes.shape[0] > 1
        return Scheme(kind=Kind.FLOAT8, bits=8, per_tensor=per_tensor, static_input=static)
    return Scheme(kind=Kind.SPQR, bits=3, group_size=codes.group_size, symmetric=False)
