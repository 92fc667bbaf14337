"""bitsandbytes' 8-bit layout (LLM.int8()): symmetric int8 with the largest magnitude of each row.

    weight         I8 (rows, columns)   q = code − 128
    SCB            F32 (rows,)          w = q · SCB / 127
    weight_format  U8 ()                0, rows as they are

Which columns of the *activations* stay 16-bit is decided while running, by `llm_int8_threshold`.

Source: bitsandbytes `nn/modules.py` `Int8Params`, `Linear8bitLt._save_to_state_dict`; Dettmers et al. 2022,
arXiv:2208.07339.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pennyweight.checkpoints.configuration import choice
from pennyweight.checkpoints.layout import Inventory, Layout, PackedModule, PackedTensor, packed
from pennyweight.checkpoints.scheme import Codes, Kind, Scheme
from pennyweight.checkpoints.stored import integers, modules_with, numbers, part, require_shape
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import UnsupportedModel
from pennyweight.formats.base import BlockFormat
from pennyweight.formats.codes import IntegerCodes

LARGEST = np.float32(127)
THRESHOLD = 6.0  # the paper's, section 3.2

U8 = BlockFormat(
    name="U8",
    ggml_type=None,
    block_size=1,
    layout=np.dtype([("value", "u1")]),
    encode_blocks=None,
    decode_blocks=lambda blocks: blocks["value"].astype(np.float32)[..., None],
    uses_importance=False,
    source="safetensors",
)


def refusal(scheme: Scheme, rows: int, columns: int) -> str | None:
    """See `Layout.refusal`."""
    del rows, columns
    if scheme.kind is not Kind.INTEGER or scheme.bits != 8 or not scheme.symmetric or scheme.group_size:
        return f"bitsandbytes' int8 wants symmetric 8-bit integers with one scale per row, not {scheme.label}"
    return None


def pack(codes: Codes) -> tuple[PackedTensor, ...]:
    """See `Layout.pack`."""
    assert isinstance(codes, IntegerCodes)
    return (
        packed("weight", (codes.codes ^ np.uint8(128)).view(np.int8)),
        packed("SCB", codes.scale[:, 0].astype(np.float32) * LARGEST),
        PackedTensor(suffix="weight_format", shape=(), format=U8, data=np.zeros((1, 1), np.uint8)),
    )


def configuration(inventory: Inventory) -> dict[str, Any]:
    """See `Layout.configuration`."""
    return {
        "quant_method": "bitsandbytes",
        "load_in_8bit": True,
        "load_in_4bit": False,
        "llm_int8_threshold": THRESHOLD,
        "llm_int8_skip_modules": list(inventory.plain) or None,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "bnb_4bit_compute_dtype": "float32",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": False,
    }


def modules(stored: Mapping[str, StoredTensor], configuration: Mapping[str, Any]) -> list[PackedModule]:
    """See `Layout.modules`."""
    choice({"load_in_8bit": str(configuration.get("load_in_8bit"))}, "load_in_8bit", ("True",))
    return [_module(stored, name) for name in modules_with(stored, "SCB")]


def _module(stored: Mapping[str, StoredTensor], name: str) -> PackedModule:
    weight, largest = part(stored, name, "weight", ("I8",)), part(stored, name, "SCB", ("F32",), 1)
    (rows, columns), layout = weight.shape, stored.get(f"{name}.weight_format")
    require_shape(largest, (rows,))
    if layout is not None and (layout.nbytes > 8 or layout.rows(0, layout.row_count).any()):
        raise UnsupportedModel(f"{layout.name} is not 0: rows in an order of the GPU's, which is not read here")

    def codes(start: int, stop: int) -> IntegerCodes:
        scale = (numbers(largest)[0, start:stop] / LARGEST)[:, None]
        return IntegerCodes(
            bits=8,
            group_size=columns,
            symmetric=True,
            codes=integers(weight, "u1", start, stop) ^ np.uint8(128),
            scale=scale,
            zero_point=np.full(scale.shape, 128, np.uint8),
        )

    return PackedModule(
        name=name,
        scheme=Scheme(kind=Kind.INTEGER, bits=8),
        shape=(rows, columns),
        tensors=(weight, largest, *([layout] if layout else [])),
        codes=codes,
        read_rows=lambda start, stop: codes(start, stop).decode(),
    )


BITSANDBYTES = Layout(
    name="bitsandbytes",
    summary="bitsandbytes int8, LLM.int8(): 8-bit symmetric integers, one scale per row",
    refusal=refusal,
    pack=pack,
    configuration=configuration,
    modules=modules,
    source="bitsandbytes nn/modules.py",
)
