"""SpQR's error feedback: columns rounded one after another on two-level groups, some weights kept apart in 16 bits.

Source: Dettmers et al., SpQR (arXiv 2306.03078), algorithm 1; Vahe1994/SpQR spqr_engine.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.formats.base import Floats
from pennyweight.formats.spqr_codes import SPQR_TILE, SpQRCodes
from pennyweight.formats.spqr_fit import TOP
from pennyweight.methods.factor import Factor
from pennyweight.methods.quantized import Quantized

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Scales and zero points of a matrix.

    Attributes:
        scale_codes, zero_codes, second: as `SpQRCodes` has them.
        scale, zero: as a reader computes them, float32 (rows, groups).
    """

    scale_codes: Floats
    zero_codes: Floats
    second: Floats
    scale: Floats
    zero: Floats


def fitted(scale_codes: Floats, zero_codes: Floats, second: Floats) -> Fitted:
    """Codes and second-order numbers with what they stand for."""
    rows = np.repeat(second, SPQR_TILE, axis=0)
    return Fitted(
        scale_codes=scale_codes,
        zero_codes=zero_codes,
        second=second,
        scale=rows[..., 0] * (scale_codes.astype(np.float32) - rows[..., 1]),
        zero=rows[..., 2] * (zero_codes.astype(np.float32) - rows[..., 3]),
    )


Apart = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(column, stored order; cost of rounding each row's weight of it, (rows,)) → which are kept apart, bool (rows,)."""


def round_apart(weight: "torch.Tensor", factored: Factor, found: Fitted, apart: Apart, lazy_columns: int) -> Quantized:
    """Error feedback on the grid that was found, with the weights kept apart in half precision."""
    import torch

    order, below, cost = factored.order, factored.below, 2 * factored.curvature
    columns = order.tolist()
    group = len(columns) // found.scale.shape[1]
    scale_of, zero_of = (
        torch.from_numpy(np.ascontiguousarray(p.T)).to(weight.device) for p in (found.scale, found.zero)
    )
    original = weight[:, order].T.contiguous()
    decoded, delta = torch.zeros_like(original), torch.zeros_like(original)
    codes = torch.zeros(original.shape, dtype=torch.uint8, device=weight.device)
    outlier = torch.zeros(original.shape, dtype=torch.bool, device=weight.device)
    loss = torch.zeros((), dtype=torch.float64, device=weight.device)
    for start in range(0, len(original), lazy_columns):
        stop = min(start + lazy_columns, len(original))
        target = original[start:stop].addmm(below[start:stop, :start], delta[:start])
        for j in range(start, stop):
            wanted, s, z = target[j - start], scale_of[columns[j] // group], zero_of[columns[j] // group]
            code = (wanted / torch.where(s != 0, s, 1.0) + z).round().clamp(0, TOP)
            dense = s * (code - z)
            outlier[j] = apart(columns[j], (wanted - dense).square() * cost[j])
            decoded[j] = torch.where(outlier[j], wanted.half().float(), dense)
            codes[j] = code.to(torch.uint8)
            loss += ((wanted - decoded[j]).double().square() * cost[j] / 2).sum()
            delta[j] = original[j] - decoded[j]
            target[j - start + 1 :].addr_(below[j + 1 : stop, j], delta[j])
    stored = order.argsort()
    code, far, value = (np.ascontiguousarray(part[stored].T.cpu().numpy()) for part in (codes, outlier, decoded))
    rows, places = far.nonzero()
    return Quantized(
        codes=SpQRCodes(
            codes=code,
            scale_codes=found.scale_codes,
            zero_codes=found.zero_codes,
            second=found.second,
            outlier_offsets=np.searchsorted(rows, np.arange(len(code) + 1)).astype(np.int64),
            outlier_columns=places.astype(np.int32),
            outlier_values=value[far],
        ),
        weight=torch.from_numpy(value).to(weight.device),
        loss=float(loss),
        damp=factored.damp,
        dead_columns=factored.dead_columns,
    )
