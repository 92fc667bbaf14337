"""Write a calibrated checkpoint: codes under canonical names in, a whole Hugging Face directory out, or nothing.

    with open_writer(layouts.get("gptq"), "out", open_checkpoint("embedded")) as writer:
        writer.write("blk.0.attn_q.weight", codes)
        writer.write("blk.0.ffn_down_exps.weight", codes, expert=3)
        writer.write_array("blk.0.attn_norm.weight", folded)

What is not written is copied from the source, byte for byte; so are the tokenizer and the generation settings. The
configuration is the source's with a `quantization_config`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pennyweight import __version__, formats, kernels
from pennyweight.checkpoints.base import Checkpoint, LazyTensor
from pennyweight.checkpoints.json_file import read_json
from pennyweight.checkpoints.layout import Inventory, Layout
from pennyweight.checkpoints.places import Place, places
from pennyweight.checkpoints.rows import transformers_order
from pennyweight.checkpoints.scheme import Codes, Scheme, scheme_of
from pennyweight.containers.atomic import write_bytes
from pennyweight.containers.atomic_directory import AtomicDirectory
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.containers.safetensors_shards import SHARD_BYTES, Bundle, ShardWriter, Slabs
from pennyweight.containers.tensor import StoredTensor, TensorInfo
from pennyweight.core.errors import BadRequest, BadWeights, UnsupportedModel
from pennyweight.core.units import MIB
from pennyweight.formats.codes import Float8Codes, IntegerCodes
from pennyweight.formats.spqr_codes import SpQRCodes
from pennyweight.models.config import config_from_json

CARRIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
)
"""Files of a checkpoint directory that a quantized copy has too."""

_SLAB_BYTES = 8 * MIB
_PLAIN = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How to write.

    Attributes:
        recipe: how the codes were made, kept with the file.
        shard_bytes: bytes of tensors after which the next shard begins; the most that waits in memory.
    """

    recipe: str = ""
    shard_bytes: int = SHARD_BYTES


USUAL = WriterOptions()


def open_writer(
    layout: Layout, output: str | Path, checkpoint: Checkpoint, options: WriterOptions = USUAL
) -> "CalibratedWriter":
    """Begin a checkpoint of `layout` at `output`, a directory that is not there yet or empty.

    Args:
        checkpoint: the unquantized source: a Hugging Face directory, or `embedded`.

    Raises:
        OutputError: something is there, or it cannot be written.
        UnsupportedModel: the source is no Hugging Face directory (a GGUF has no tokenizer files to carry over).
    """
    return CalibratedWriter(layout, output, checkpoint, options)


class CalibratedWriter:
    """See `open_writer`. A context manager: left by an error, Ctrl-C included, it leaves nothing behind."""

    def __init__(self, layout: Layout, output: str | Path, checkpoint: Checkpoint, options: WriterOptions) -> None:
        self._source = Path(checkpoint.source)
        if not (self._source / "config.json").is_file():
            raise UnsupportedModel(
                f"{checkpoint.source} is no Hugging Face directory; start {layout.name} from the original checkpoint"
            )
        self._json = read_json(self._source / "config.json")
        self._config = config_from_json({k: v for k, v in self._json.items() if k != "quantization_config"})
        self._stored = open_safetensors(self._source).tensors
        self._tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
        self._places = {(p.tensor, p.expert): p for p in places(self._config, self._stored)}
        self._by_stored = {place.stored: place for place in self._places.values()}
        self.layout, self._options = layout, options
        self._written: set[str] = set()
        self._schemes: dict[str, Scheme] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._directory = AtomicDirectory(output)
        metadata = {"format": "pt", "pennyweight": __version__}
        metadata |= {"recipe": options.recipe} if options.recipe else {}
        self._shards = ShardWriter(self._directory.temporary, metadata, options.shard_bytes)

    @property
    def bytes_written(self) -> int:
        """Bytes of the tensors so far."""
        return self._shards.total_bytes

    def write(self, name: str, codes: Codes, expert: int | None = None, *, stored_order: bool = False) -> None:
        """Write the codes of one matrix.

        Args:
            name: canonical (`blk.0.attn_q.weight`).
            expert: which one, where the canonical tensor stacks them.
            stored_order: the codes' rows are in transformers' order already, not in the canonical tensor's.

        Raises: BadRequest for what the layout, or this model, has no place for; says why. BadWeights for a scale that
            is no number. OutputError.
        """
        place = self._vacant(self._places.get((name, expert)), name if expert is None else f"{name}, expert {expert},")
        self._put(place, codes if stored_order else _reordered(codes, place), name)

    def write_module(self, module: str, codes: Codes) -> None:
        """As `write`, by the name of the module, rows in the stored order: what another checkpoint gives."""
        self._put(self._vacant(self._by_stored.get(f"{module}.weight"), module), codes, module)

    def _put(self, place: Place, codes: Codes, name: str) -> None:
        rows, columns = codes.codes.shape
        scheme = scheme_of(codes)
        why = None if place.is_linear else "only linear layers are quantized"
        why = why or self.layout.refusal(scheme, rows, columns)
        if why:
            raise BadRequest(f"{name} does not go into a {self.layout.name} checkpoint: {why}")
        if codes.codes.shape != place.shape:
            raise BadRequest(f"{name} has shape {place.shape}, got codes of {codes.codes.shape}")
        _require_finite(name, codes)
        packed = self.layout.pack(codes)
        infos = tuple(tensor.info(place.module) for tensor in packed)
        rows_of = [(info.name, 0, tensor.data) for info, tensor in zip(infos, packed, strict=True)]
        self._shards.add(Bundle(infos=infos, slabs=lambda: rows_of))
        self._written.add(place.stored)
        self._schemes[place.module] = scheme
        self._shapes |= {info.name: info.shape for info in infos}

    def write_array(self, name: str, array: NDArray[np.float32], expert: int | None = None) -> None:
        """Write other numbers than the source's (a norm with a scale folded in), in the source's own dtype.

        Raises: BadRequest, BadWeights, OutputError.
        """
        place = self._vacant(self._places.get((name, expert)), name)
        if array.shape != place.shape:
            raise BadRequest(f"{name} has shape {place.shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise BadWeights(f"{name} holds NaN or infinity; nothing was written")
        stored = self._stored.get(place.stored)
        format = formats.get(stored.format if stored and stored.format in _PLAIN else self._main_format())
        rows = array if place.head_length is None else transformers_order(array, place.head_length)
        data = kernels.encode(format, np.ascontiguousarray(rows, np.float32).reshape(-1, array.shape[-1]))
        self._shards.add(_whole(TensorInfo(name=place.stored, shape=place.shape, format=format), data))
        self._written.add(place.stored)

    def __enter__(self) -> Self:
        self._directory.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._complete()
        except BaseException as failed:
            self._directory.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._directory.__exit__(kind, error, trace)

    def _vacant(self, place: Place | None, name: str) -> Place:
        if place is None:
            raise BadRequest(f"a {self._config.family.class_name} of this config has no {name} to write")
        if place.stored in self._written:
            raise BadRequest(f"{name} was written already")
        return place

    def _complete(self) -> None:
        """Copy what was not written, then the files beside the tensors."""
        if not self._schemes:
            raise BadRequest(f"no matrix was quantized; there is no {self.layout.name} checkpoint to write")
        plain: list[str] = []
        for place in self._places.values():
            if place.stored in self._written:
                continue
            bundle = self._copied(place)
            if bundle is not None:
                self._shards.add(bundle)
                plain += [place.module] if place.is_linear else []
        self._shards.finish()
        # An output tied to the embedding has no tensor, but loaders see its layer.
        if self._config.tied and "lm_head" not in self._schemes and "lm_head" not in plain:
            plain.append("lm_head")
        inventory = Inventory(schemes=self._schemes, shapes=self._shapes, plain=plain, recipe=self._options.recipe)
        self._write_files(self.layout.configuration(inventory))

    def _copied(self, place: Place) -> Bundle | None:
        """A tensor as the source has it; None where it has none (an optional bias, a tied output)."""
        stored = self._stored.get(place.stored)
        if stored is not None and stored.format in _PLAIN:
            return _copy(stored)
        tensor = self._tensors.get(place.tensor)
        if tensor is None:
            return None
        if tensor.format not in _PLAIN:
            raise BadRequest(f"{place.stored} is {tensor.format} in {self._source}, and no codes were written for it")
        return self._from_canonical(place, tensor)

    def _from_canonical(self, place: Place, tensor: LazyTensor) -> Bundle:
        """One expert of a source that holds them fused."""
        count, format = place.shape[0], formats.get(tensor.format)
        first = (place.expert or 0) * count
        info = TensorInfo(name=place.stored, shape=place.shape, format=format)

        def slabs() -> Slabs:
            yield place.stored, 0, tensor.raw_rows(first, first + count)

        return Bundle(infos=(info,), slabs=slabs)

    def _main_format(self) -> str:
        return next(tensor.format for tensor in self._stored.values() if tensor.format in _PLAIN)

    def _write_files(self, quantization: dict[str, Any]) -> None:
        directory = self._directory.temporary
        _write_json(directory / "config.json", self._json | {"quantization_config": quantization})
        if self.layout.second_configuration:
            _write_json(directory / self.layout.second_configuration, quantization)
        for name in CARRIED:
            if (self._source / name).is_file():
                shutil.copyfile(self._source / name, directory / name)


def _reordered(codes: Codes, place: Place) -> Codes:
    """The same rows in the order of the stored tensor."""
    if place.head_length is None:
        return codes
    if isinstance(codes, SpQRCodes):
        raise BadRequest(
            f"{place.tensor}: SpQR's rows share numbers by 16, so they must be coded in transformers' order; say so "
            "with stored_order"
        )
    order = transformers_order(np.arange(place.shape[0]), place.head_length)
    scale = codes.scale[order] if len(codes.scale) == len(order) else codes.scale
    if isinstance(codes, IntegerCodes):
        return replace(codes, codes=codes.codes[order], scale=scale, zero_point=codes.zero_point[order])
    return replace(codes, codes=codes.codes[order], scale=scale)


def _require_finite(name: str, codes: Codes) -> None:
    scale = codes.second if isinstance(codes, SpQRCodes) else codes.scale
    if not np.isfinite(scale).all():
        raise BadWeights(f"{name}: a scale is NaN or infinite; nothing was written")
    inputs = codes.input_scale if isinstance(codes, Float8Codes) else None
    if inputs is not None and not 0 < inputs < np.inf:
        raise BadWeights(f"{name}: the activations' scale is {inputs}, wanted a positive number; nothing was written")


def _copy(stored: StoredTensor) -> Bundle:
    info = TensorInfo(name=stored.name, shape=stored.shape, format=formats.get(stored.format))
    step = max(1, _SLAB_BYTES // max(1, info.row_bytes))

    def slabs() -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
        for start in range(0, stored.row_count, step):
            yield stored.name, start, stored.rows(start, min(start + step, stored.row_count))

    return Bundle(infos=(info,), slabs=slabs)


def _whole(info: TensorInfo, data: NDArray[np.uint8]) -> Bundle:
    return Bundle(infos=(info,), slabs=lambda: [(info.name, 0, data)])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
