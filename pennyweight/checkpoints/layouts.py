"""Every layout of calibrated checkpoints, and which of them a `quantization_config` speaks of."""

from collections.abc import Mapping
from typing import Any

from pennyweight.checkpoints.awq import AWQ
from pennyweight.checkpoints.bitsandbytes import BITSANDBYTES
from pennyweight.checkpoints.compressed_tensors import FLOAT_QUANTIZED, INT_QUANTIZED, PACK_QUANTIZED
from pennyweight.checkpoints.gptq import GPTQ, GPTQ_V2
from pennyweight.checkpoints.layout import Layout
from pennyweight.checkpoints.spqr import SPQR
from pennyweight.checkpoints.spqr_dense import METHOD, SPQR_DENSE
from pennyweight.core.errors import UnknownName, UnsupportedModel

ALL = (GPTQ, GPTQ_V2, AWQ, PACK_QUANTIZED, INT_QUANTIZED, FLOAT_QUANTIZED, BITSANDBYTES, SPQR, SPQR_DENSE)

_BY_METHOD = {
    "gptq": GPTQ,
    "awq": AWQ,
    "compressed-tensors": PACK_QUANTIZED,
    "bitsandbytes": BITSANDBYTES,
    "spqr": SPQR,
    METHOD: SPQR_DENSE,
}
"""`quant_method` → the layout that reads it; one reader serves both versions of GPTQ, and all of compressed-tensors."""


def get(name: str) -> Layout:
    """The layout of that name (`compressed-tensors` is its `pack-quantized`). Raises: UnknownName."""
    wanted = PACK_QUANTIZED.name if name == "compressed-tensors" else name
    found = next((layout for layout in ALL if layout.name == wanted), None)
    if found is None:
        raise UnknownName.among("checkpoint layout", name, (layout.name for layout in ALL))
    return found


def reader_of(configuration: Mapping[str, Any]) -> Layout:
    """The layout that reads a checkpoint with this `quantization_config`. Raises: UnsupportedModel."""
    method = configuration.get("quant_method")
    found = _BY_METHOD.get(method) if isinstance(method, str) else None
    if found is None:
        known = ", ".join(_BY_METHOD)
        raise UnsupportedModel(f"config.json: the checkpoint is quantized by {method!r}; read here are {known}")
    return found
