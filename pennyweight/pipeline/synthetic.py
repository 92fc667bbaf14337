"""Synthetic models: a GGUF of a model's exact shapes and formats with random weights, whose speed is the real one's.

Speed does not depend on what the weights say, as long as numbers stay ordinary (no NaN, no infinity, no denormals) and
an expert model's tokens spread over its experts. So each format's random weights are encoded once, a few thousand
blocks of them, shuffled into a pool of 16 MiB, and every tensor is written from the pool, each stretch from another
place. Blocks are valid because they come out of the format's own encoder.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pennyweight import formats
from pennyweight.checkpoints.model_metadata import model_metadata
from pennyweight.checkpoints.vocabulary import Vocabulary, vocabulary_metadata
from pennyweight.containers.gguf import GGUFValue
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.containers.tensor import TensorInfo
from pennyweight.core.errors import OutputError, UnsupportedModel
from pennyweight.core.progress import progress_bar
from pennyweight.core.units import MIB
from pennyweight.formats.base import BlockFormat
from pennyweight.models.config import ModelConfig
from pennyweight.models.rope import frequency_factors
from pennyweight.models.shape import shape_from_metadata
from pennyweight.models.tensors import ROPE_FREQUENCIES, planned_tensors
from pennyweight.recipes.assign import assign
from pennyweight.recipes.file_types import FileType
from pennyweight.recipes.layout import output_metadata

POOL_BYTES = 16 * MIB
"""Larger than a core's own caches, so that a page is not the page before it; small enough to be made in a moment."""

PIECE = 256
"""Weights that are shuffled as one: a block of every format is whole in it."""

PIECES = 256
"""Different pieces of a pool: 65,536 weights go through the encoder."""

WEIGHT_SPREAD = 0.02
"""Standard deviation of the weights, as models are initialized: a product with a normed vector is around 1."""

EMBEDDING_SPREAD = 100.0
"""Of the token embedding: so large beside what blocks add that tokens stay different from each other to the last
block, and routers send them to different experts. Attention adds much the same to every token, and each block carries
it on: with 1.0, 256 random tokens reached 24 of 128 experts in the last block of a Qwen3-30B-A3B with thin experts, and
a prompt's speed depends on how many are read. With 100 they reach all 128. (Larger still, and the logits of a tied F16
model would no longer fit the half precision that GPUs compute them in.)"""

SEED = 0
"""Of the weights, unless another is asked for."""

MAX_VOCABULARY = 1 << 22
"""Tokens; the largest published vocabularies have 2^18. Each costs memory before the disk is asked for space."""

Pool = NDArray[np.uint8]


@contextmanager
def synthetic_gguf(config: ModelConfig, name: str, file_type: FileType) -> Iterator[Path]:
    """The path of a synthetic model in the system's directory of temporary files; removed afterwards.

    Raises: as `write_synthetic`.
    """
    with tempfile.TemporaryDirectory(prefix="pennyweight-") as directory:
        path = Path(directory) / f"{name}-{file_type.name}.gguf"
        try:
            write_synthetic(path, config, name, file_type)
        except OutputError as error:
            raise OutputError(f"{error}; the variable TMPDIR names a directory on another disk") from error
        yield path


def write_synthetic(path: Path, config: ModelConfig, name: str, file_type: FileType, seed: int = SEED) -> int:
    """Write the model to `path` and return the bytes of the file; equal arguments give equal bytes.

    Formats are those `quantize` would give it (with an importance matrix, for a file type that demands one). The file
    is synced, temporary or not: a disk that is still busy with it would slow what is measured next.

    Raises:
        OutputError: there is not the space for it; nothing is written.
        UnsupportedModel: a vocabulary larger than any.
    """
    metadata = synthetic_metadata(config, name, file_type)
    infos = synthetic_tensors(config, metadata, file_type)
    rng = np.random.default_rng(seed)
    with (
        GGUFWriter(path, metadata, infos) as writer,
        progress_bar(f"synthetic {name}", sum(info.nbytes for info in infos)) as advance,
    ):
        _write_tensors(writer, infos, config, rng, advance)
    return writer.bytes_written


def synthetic_metadata(config: ModelConfig, name: str, file_type: FileType) -> dict[str, GGUFValue]:
    """Metadata of the model, and a vocabulary of the right size that llama.cpp takes and no text can be read with.

    Raises: UnsupportedModel.
    """
    if config.vocabulary_size > MAX_VOCABULARY:
        raise UnsupportedModel(f"{name}: a vocabulary of {config.vocabulary_size}; at most {MAX_VOCABULARY} is written")
    vocabulary = Vocabulary(model="gpt2", pre="gpt-2", tokens={}, merges=("a b",))  # BPE must have a merge
    keys = [
        *model_metadata(config, generation={}, name=f"{name} (synthetic)", stored_format="F16"),
        *vocabulary_metadata(vocabulary, config.vocabulary_size),
    ]
    return output_metadata(dict(keys), file_type)


def synthetic_tensors(
    config: ModelConfig, metadata: dict[str, GGUFValue], file_type: FileType
) -> tuple[TensorInfo, ...]:
    """Names, shapes and formats in the order of the file."""
    planned = {tensor.name: tensor for tensor in planned_tensors(config)}
    has_imatrix = file_type.demands_imatrix is not None
    assigned = assign(planned.values(), shape_from_metadata(metadata), file_type, has_imatrix=has_imatrix)
    return tuple(TensorInfo(name=a.name, shape=planned[a.name].shape, format=formats.get(a.format)) for a in assigned)


def random_pool(format: BlockFormat, spread: float, nbytes: int, rng: np.random.Generator) -> Pool:
    """At least `nbytes` of valid blocks, uint8 (n,), of normal weights with standard deviation `spread`."""
    weights = rng.standard_normal((PIECES, PIECE), np.float32) * np.float32(spread)
    pieces = format.encode(weights)
    count = -(-nbytes // pieces.shape[1])
    return np.take(pieces, rng.integers(0, PIECES, count), axis=0).reshape(-1)


def _write_tensors(
    writer: GGUFWriter,
    infos: Sequence[TensorInfo],
    config: ModelConfig,
    rng: np.random.Generator,
    advance: Callable[[int], None],
) -> None:
    # Twice the largest row, so that every row can begin anywhere in the first half.
    pool_bytes = max(POOL_BYTES, 2 * max(info.row_bytes for info in infos))
    pools: dict[tuple[str, float], Pool] = {}
    for info in infos:
        if len(info.shape) == 1:
            writer.write_rows(info.name, 0, _vector(info, config).reshape(1, -1).view(np.uint8))
            continue
        spread = EMBEDDING_SPREAD if info.name == "token_embd.weight" else WEIGHT_SPREAD
        key = info.format.name, spread
        if key not in pools:
            pools[key] = random_pool(info.format, spread, pool_bytes, rng)
        _write_from_pool(writer, info, pools[key], rng, advance)


def _write_from_pool(
    writer: GGUFWriter, info: TensorInfo, pool: Pool, rng: np.random.Generator, advance: Callable[[int], None]
) -> None:
    half = len(pool) // 2
    step = half // info.row_bytes
    for start in range(0, info.rows, step):
        nbytes = min(step, info.rows - start) * info.row_bytes
        first = int(rng.integers(0, half // info.format.block_bytes)) * info.format.block_bytes
        writer.write_rows(info.name, start, pool[first : first + nbytes].reshape(-1, info.row_bytes))
        advance(nbytes)


def _vector(info: TensorInfo, config: ModelConfig) -> NDArray[np.float32]:
    """Norms that change nothing, biases that add nothing, and Llama 3's real frequency factors."""
    if info.name == ROPE_FREQUENCIES:
        return frequency_factors(config.rope, config.head_length)
    return np.full(info.shape, 0 if info.name.endswith(".bias") else 1, np.float32)
