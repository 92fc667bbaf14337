"""Checkpoints that servers load, as bytes of a model: what of it is quantized, and with how many bits.

Quantized are the matrices inside the blocks; embedding, output, norms and routers stay at 16 bits, as AutoAWQ,
GPTQModel, llm-compressor and deepcompressor leave them by default.
"""

from dataclasses import dataclass

from pennyweight.core.errors import UnknownName
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.tensors import PlannedTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedType:
    """One kind of checkpoint.

    Attributes:
        bits: of a quantized weight, its share of scales and zero points included.
        row_bytes: of what is stored once for each output row.
        loads: who loads it. why: when it is the one to take.
        needs_fp8: the card must compute FP8.
        cache: the cache that goes with it; `auto` where the operator chooses.
        recipe: what makes it here, empty where nothing is to be made. calibrated: on a text.
    """

    name: str
    bits: float
    row_bytes: int = 0
    loads: tuple[str, ...] = ("vLLM", "SGLang", "TGI")
    why: str
    needs_fp8: bool = False
    cache: str = "auto"
    recipe: str = ""
    calibrated: bool = False


ALL = (
    ServedType(name="BF16", bits=16, why="unquantized: where it fits and quality is all"),
    ServedType(
        name="FP8",
        bits=8,
        row_bytes=4,
        why="half the bytes, and twice the arithmetic on cards that have it",
        needs_fp8=True,
        recipe="fp8",
    ),
    ServedType(
        name="AWQ",
        bits=4 + 20 / 128,
        why="the field's usual 4 bits for serving",
        recipe="awq:INT4_G128",
        calibrated=True,
    ),
    ServedType(
        name="GPTQ",
        bits=4 + 20 / 128,
        why="4 bits for serving, with the widest choice of ready checkpoints",
        recipe="gptq:INT4_G128",
        calibrated=True,
    ),
    ServedType(
        name="W4A8KV4",
        bits=4 + 16 / 128,
        row_bytes=2,
        loads=("QServe",),
        why="throughput in a datacentre: 8-bit arithmetic and a cache of 4 bits, 1.2 to 3.5 times TensorRT-LLM's best",
        cache="int4",
    ),
)
"""Best quality first. 20 bits to a group of 128 are AWQ's and GPTQ's scale (16) and zero point (4)."""

NAMES = tuple(kind.name for kind in ALL)


def get(name: str) -> ServedType:
    """The checkpoint of that name, in any case. Raises: UnknownName."""
    for kind in ALL:
        if kind.name == name.upper():
            return kind
    raise UnknownName.among("served checkpoint type", name, NAMES)


def served_bytes(anatomy: Anatomy, kind: ServedType) -> int:
    """Bytes of all tensors in memory."""
    return sum(tensor_bytes(tensor, kind) for tensor in anatomy.tensors)


def is_quantized(tensor: PlannedTensor) -> bool:
    """Whether servers' quantizers touch it: a matrix of a block that is no router."""
    in_block = tensor.name.startswith("blk.")
    return in_block and len(tensor.shape) > 1 and "ffn_gate_inp" not in tensor.name


def tensor_bytes(tensor: PlannedTensor, kind: ServedType) -> int:
    """Bytes of one tensor in memory."""
    if not is_quantized(tensor):
        return 2 * tensor.weights
    rows = tensor.weights // tensor.shape[-1]
    return int(tensor.weights * kind.bits / 8) + rows * kind.row_bytes
