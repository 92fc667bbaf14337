"""What llama-quantize changes in the metadata of the file that it writes.

    source keys in their order, without split.*, without the keys below
    general.quantization_version = 2 · general.file_type
    quantize.imatrix.file · .dataset · .entries_count · .chunks_count        (with an importance matrix)

A key that is set again moves to the end, as in ggml, so the two `general` keys stand last wherever they stood before.

One deviation: where the source says `general.alignment` other than 32, llama-quantize repeats the key but pads to 32,
and its file can no longer be read. Ours keeps the key and is padded as the key says.

Source: llama.cpp b11549 llama-quant.cpp `llama_model_quantize_impl`;
tools/quantize/quantize.cpp; ggml gguf.cpp `gguf_set_val_*`, `gguf_set_kv`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pennyweight.containers.gguf import SPLIT_KEYS, GGUFValue, StringArray, ValueType, decode_text, encode_text
from pennyweight.recipes.file_types import FileType

QUANTIZATION_VERSION = 2
"""ggml's GGML_QNT_VERSION: the version of its block layouts."""

MOST_TEXT_BYTES = 127
"""llama-quantize passes the imatrix texts through a buffer of 128 bytes, the last of them zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImatrixProvenance:
    """What the written file says of the importance matrix it was made with.

    Attributes:
        file: path of the matrix, as the user gave it.
        dataset: the text it was collected on, the first where there are several; None where the matrix does not say.
        entries: tensors it has values for.
        chunks: chunks of text it was collected over; 0 or less where the matrix does not say.
    """

    file: str
    dataset: str | None
    entries: int
    chunks: int


def output_metadata(
    metadata: Mapping[str, GGUFValue], file_type: FileType, imatrix: ImatrixProvenance | None = None
) -> dict[str, GGUFValue]:
    """The metadata of the written file, in its order.

    Args:
        metadata: the source's, of the first file where it is split.
        imatrix: None where no importance matrix was given, or one without entries.
    """
    changed = {
        "general.quantization_version": GGUFValue.scalar(ValueType.UINT32, QUANTIZATION_VERSION),
        "general.file_type": GGUFValue.scalar(ValueType.UINT32, file_type.llama_ftype),
    }
    if imatrix:
        changed |= _imatrix_keys(imatrix)
    dropped = {*SPLIT_KEYS, *changed}
    return {key: _without_zero_bytes(value) for key, value in metadata.items() if key not in dropped} | changed


def _imatrix_keys(imatrix: ImatrixProvenance) -> dict[str, GGUFValue]:
    keys = {"quantize.imatrix.file": _short_text(imatrix.file)}
    if imatrix.dataset is not None:
        keys["quantize.imatrix.dataset"] = _short_text(imatrix.dataset)
    keys["quantize.imatrix.entries_count"] = GGUFValue.scalar(ValueType.UINT32, imatrix.entries)
    if imatrix.chunks > 0:
        keys["quantize.imatrix.chunks_count"] = GGUFValue.scalar(ValueType.UINT32, imatrix.chunks)
    return keys


def _short_text(text: str) -> GGUFValue:
    return GGUFValue.scalar(ValueType.STRING, decode_text(encode_text(text)[:MOST_TEXT_BYTES]))


def _without_zero_bytes(value: GGUFValue) -> GGUFValue:
    """The value with its texts cut at a zero byte: ggml copies C strings, and llama.cpp reads no further than that."""
    if isinstance(value.value, str) and "\0" in value.value:
        return GGUFValue.scalar(ValueType.STRING, value.value.partition("\0")[0])
    if isinstance(value.value, StringArray) and any("\0" in text for text in value.value):
        return GGUFValue.array(ValueType.STRING, (text.partition("\0")[0] for text in value.value))
    return value
