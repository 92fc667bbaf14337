"""An open GGUF file → an `Anatomy`: tensors as they are stored, what its blocks keep from its keys."""

from pennyweight.containers.gguf import GGUFValue, integer
from pennyweight.containers.gguf_reader import GGUFFile
from pennyweight.models import architectures
from pennyweight.models.anatomy import Anatomy
from pennyweight.models.keeping import blocks_of
from pennyweight.models.rope_words import scaling_of_keys
from pennyweight.models.shape import Keys, shape_from_metadata
from pennyweight.models.tensors import PlannedTensor

UNQUANTIZED = {0: "F32", 1: "F16", 32: "BF16"}
"""Values of `general.file_type` from which any type can still be made."""

QUANTIZED = {
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
}
"""The others, by name. Source: llama.cpp include/llama.h `enum llama_ftype`."""


def anatomy_from_gguf(file: GGUFFile, *, name: str, source: str, repository: str = "") -> Anatomy:
    """The anatomy of a GGUF model; where its architecture is not known, its cache is an upper bound and `known` False.

    Raises: FormatError where a key that every model has is missing.
    """
    shape, keys = shape_from_metadata(file.metadata), Keys(file.metadata)
    architecture = architectures.by_gguf_name(shape.architecture)
    notes = () if architecture else (_unknown(shape.architecture),)
    return Anatomy(
        name=shape.name or name,
        repository=repository,
        source=source,
        known=architecture is not None,
        shape=shape,
        tensors=tuple(PlannedTensor(name=t.name, shape=t.shape, format=t.format) for t in file.tensors.values()),
        file_type=stored_type(file.metadata.get("general.file_type"), file),
        blocks=blocks_of(shape, keys, architecture),
        notes=notes,
        rope_scaling=scaling_of_keys(keys),
    )


def stored_type(said: GGUFValue | None, file: GGUFFile) -> str | None:
    """The type the file has; None where every matrix is still in F32, F16 or BF16, whatever the key says."""
    if all(tensor.format in UNQUANTIZED.values() for tensor in file.tensors.values()):
        return None
    number = integer(said)
    return QUANTIZED.get(number if number is not None else -1, "mixed")


def _unknown(architecture: str) -> str:
    return f"architecture {architecture} is not known here: the cache is an upper bound (every block, full attention)"
