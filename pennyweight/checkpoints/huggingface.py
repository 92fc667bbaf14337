"""A Hugging Face directory (config.json, safetensors, tokenizer) as canonical tensors and GGUF metadata.

The tensors are those of the family's table in `pennyweight.models.families`: each must be there, in the shape that
config.json implies, and no other may be there. Nothing is guessed and nothing is dropped, except the buffers that
`IGNORED_SUFFIXES` names. Weights are read row by row when asked for.

Sliding windows (mistral, qwen) are not written: llama.cpp has none for these architectures, as its converter has none,
so attention is full, which is the same function up to the window's length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pennyweight.checkpoints import rows
from pennyweight.checkpoints.activations import stated_inputs
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.checkpoints.calibrated import DecodedTensor, decoded
from pennyweight.checkpoints.json_file import read_json, read_json_if_there
from pennyweight.checkpoints.model_metadata import model_metadata
from pennyweight.checkpoints.tokenizer import tokenizer_metadata
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.models.config import ModelConfig, config_from_json
from pennyweight.models.families import IGNORED_SUFFIXES, OUTPUT, Part, Source, TensorRule
from pennyweight.models.rope import frequency_factors

Stored = StoredTensor | DecodedTensor
READABLE = ("F32", "F16", "BF16")
_LISTED = 5  # names in an error; the rest are counted


def open_huggingface(path: str | Path) -> Checkpoint:
    """Open a checkpoint directory of one of the families in `pennyweight.models.families`.

    Tensors come in the table's order, whatever the shards' order is.

    Raises:
        BadRequest: no such directory, or it has no config.json or no safetensors (pickles are never read).
        FormatError: a file is broken or missing, or files contradict each other.
        UnsupportedModel: an architecture, option, dtype or tokenizer that cannot be carried over faithfully.
    """
    directory = Path(path)
    if not (directory / "config.json").is_file():
        raise BadRequest(f"{directory} has no config.json; a Hugging Face checkpoint directory is wanted")
    stated = read_json(directory / "config.json")
    quantization = stated.pop("quantization_config", None)
    config = config_from_json(stated)
    files = open_safetensors(directory)
    tensors = canonical_tensors(decoded(files.tensors, quantization) if quantization else files.tensors, config)
    tokenizer = tokenizer_metadata(directory, config.vocabulary_size, config.special_ids)
    generation = read_json_if_there(directory / "generation_config.json")
    model = model_metadata(config, generation, _model_name(directory), _main_format(tensors))
    read = tuple(sorted({*files.paths, *(entry for entry in directory.iterdir() if entry.is_file())}))
    metadata = dict([*model, *tokenizer])
    if quantization:  # llama.cpp has no number for these types; what they are stored in says it
        del metadata["general.file_type"]
    inputs = stated_inputs(quantization) if quantization else None
    return Checkpoint(metadata=metadata, tensors=tensors, source=str(directory), files=read, inputs=inputs)


def canonical_tensors(stored: Mapping[str, Stored], config: ModelConfig) -> tuple[LazyTensor, ...]:
    """Stored tensors, by the family's table, as canonical ones.

    Raises:
        FormatError: tensors are missing, or have another shape than config.json implies.
        UnsupportedModel: tensors that the family does not have, or a dtype that is not a float of 16 or 32 bits.
    """
    tensors: list[LazyTensor] = []
    used: set[str] = set()
    missing: list[str] = []
    for rule, block in _rules(config):
        source, names = _find(rule, block, stored, config)
        found = [stored[name] for name in names if name in stored]
        if len(found) == len(names):
            tensors.append(_canonical(rule, source, block, found, config))
        elif found or not rule.optional or (rule.name == OUTPUT and not config.tied):
            missing += [name for name in names if name not in stored]
        used.update(tensor.name for tensor in found)
    if missing:
        raise FormatError(f"the checkpoint lacks {_some(missing)}, which a {config.family.class_name} has")
    unknown = [name for name in stored if name not in used and not name.endswith(IGNORED_SUFFIXES)]
    if unknown:
        raise UnsupportedModel(f"a {config.family.class_name} as llama.cpp runs it has no {_some(unknown)}")
    if config.rope.kind == "llama3":
        tensors.insert(0, rows.array_tensor("rope_freqs.weight", frequency_factors(config.rope, config.head_length)))
    return tuple(tensors)


def _rules(config: ModelConfig) -> Iterator[tuple[TensorRule, int]]:
    """Tensors outside the blocks, then block by block; 0 stands for no block."""
    in_blocks = [rule for rule in config.family.tensors if "{block}" in rule.name]
    yield from ((rule, 0) for rule in config.family.tensors if "{block}" not in rule.name)
    yield from ((rule, block) for block in range(config.block_count) for rule in in_blocks)


def _find(rule: TensorRule, block: int, stored: Mapping[str, Stored], config: ModelConfig) -> tuple[Source, list[str]]:
    """The first spelling of which anything is stored, and its names; the first spelling where there is none."""
    spelled = [(source, _names(source, block, config)) for source in rule.sources]
    return next((pair for pair in spelled if any(name in stored for name in pair[1])), spelled[0])


def _names(source: Source, block: int, config: ModelConfig) -> list[str]:
    if "{expert}" not in source.name:
        return [source.name.format(block=block)]
    return [source.name.format(block=block, expert=expert) for expert in range(config.expert_count)]


def _canonical(
    rule: TensorRule, source: Source, block: int, found: Sequence[Stored], config: ModelConfig
) -> LazyTensor:
    name, shape = rule.name.format(block=block), tuple(config.dimension(dimension) for dimension in rule.shape)
    for tensor in found:
        _require_form(tensor, _stored_shape(source, shape), _label(found[0]))
    read = rows.stacked(_pieces(source, shape, found))
    head_length = config.head_length if rule.permuted else None
    packed = [tensor for tensor in found if isinstance(tensor, DecodedTensor)]
    if packed:
        read = rows.reordered_heads(read, head_length) if head_length else read
        nbytes = sum(tensor.stored_bytes for tensor in packed)
        whole = replace(rows.lazy_matrix(name, shape, "F32", read), format=packed[0].label, nbytes=nbytes)
        scales = [tensor.input_scale for tensor in packed if tensor.input_scale]
        if len(scales) < len(packed):
            return whole
        return replace(whole, input_scales=lambda: tuple(scale() for scale in scales))
    if len(shape) == 1 or rule.float32:
        return rows.lazy_float32(name, shape, found[0].format, read, head_length)
    if head_length:
        read = rows.reordered_heads(read, head_length)
    return rows.lazy_matrix(name, shape, found[0].format, read)


def _stored_shape(source: Source, shape: tuple[int, ...]) -> tuple[int, ...]:
    if "{expert}" in source.name:
        return shape[1:]
    return shape if source.part is Part.ALL else (shape[0], 2 * shape[1], shape[2])


def _pieces(source: Source, shape: tuple[int, ...], found: Sequence[Stored]) -> list[rows.Piece]:
    if source.part is Part.ALL:
        return [rows.Piece(tensor=tensor, start=0, count=tensor.row_count) for tensor in found]
    experts, height = shape[0], shape[1]
    half = 0 if source.part is Part.FIRST_HALF else height
    return [rows.Piece(tensor=found[0], start=2 * height * i + half, count=height) for i in range(experts)]


def _require_form(tensor: Stored, shape: tuple[int, ...], format: str) -> None:
    if tensor.shape != shape:
        raise FormatError(f"{tensor.source.name}: {tensor.name} has shape {tensor.shape}, config.json implies {shape}")
    if tensor.format not in READABLE:
        raise UnsupportedModel(f"{tensor.name} is stored as {tensor.format}; wanted one of {', '.join(READABLE)}")
    if _label(tensor) != format:
        raise UnsupportedModel(f"{tensor.name} is stored as {_label(tensor)}, other experts of its block as {format}")


def _label(tensor: Stored) -> str:
    return tensor.label if isinstance(tensor, DecodedTensor) else tensor.format


def _model_name(directory: Path) -> str:
    """The directory's name; in the Hugging Face cache (`models--user--NAME/snapshots/<commit>`), the repository's."""
    path = directory.resolve()
    cached = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return path.parent.parent.name.split("--")[-1] if cached else path.name


def _main_format(tensors: Sequence[LazyTensor]) -> str:
    """What the first matrix is stored in, which llama.cpp's converter takes for the file's type."""
    return next((t.format for t in tensors if len(t.shape) > 1 and t.format in READABLE), READABLE[0])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
