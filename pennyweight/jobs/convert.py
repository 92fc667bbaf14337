"""convert: a calibrated checkpoint in another layout, code for code; nothing is rounded again, or it is refused."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pennyweight.checkpoints import layouts
from pennyweight.checkpoints.calibrated import packed_modules
from pennyweight.checkpoints.calibrated_writer import WriterOptions, open_writer
from pennyweight.checkpoints.huggingface import open_huggingface
from pennyweight.checkpoints.json_file import read_json
from pennyweight.checkpoints.layout import PackedModule
from pennyweight.checkpoints.open import local_path
from pennyweight.checkpoints.scheme import Codes, Kind
from pennyweight.containers.safetensors import open_safetensors
from pennyweight.core.errors import BadRequest, UnknownName
from pennyweight.core.progress import progress_bar
from pennyweight.formats.codes import IntegerCodes

TARGETS = ("gptq", "gptq_v2", "awq", "compressed-tensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """What was written.

    Attributes:
        output: the directory.
        source_layout, layout: as `quant_method` names the one, and the one written.
        modules: how many matrices moved.
        bytes: of all tensors.
        seconds: wall time.
    """

    output: str
    source_layout: str
    layout: str
    modules: int
    bytes: int
    seconds: float


def convert(source: str, output: str | Path, to: str) -> ConvertResult:
    """Write the calibrated checkpoint `source` to the directory `output` in the layout `to`, codes unchanged.

    Memory: one module and one shard.

    Raises:
        UnknownName: a layout that is not of `TARGETS`.
        BadRequest: `source` is not calibrated, or holds what the layout cannot carry; says what.
        UnsupportedModel, FormatError: it cannot be read. OutputError.
    """
    started = time.perf_counter()
    if to not in TARGETS:
        raise UnknownName.among("layout to convert to", to, TARGETS)
    layout, directory = layouts.get(to), local_path(source)
    configuration = read_json(directory / "config.json").get("quantization_config") if directory.is_dir() else None
    if not configuration:
        raise BadRequest(f"{source} is not a calibrated checkpoint directory; wanted GPTQ, AWQ or compressed-tensors")
    checkpoint = open_huggingface(directory)
    modules = packed_modules(open_safetensors(directory).tensors, configuration)
    for module in modules:
        if module.tensors[0].name.endswith(".weight"):
            raise BadRequest(
                f"{module.name} is {module.scheme.label} for runtimes that round activations too; {layout.name} is "
                "for weights alone, so the result would compute something else"
            )
        why = layout.refusal(module.scheme, *module.shape)
        if why:
            raise BadRequest(f"{module.name} does not go into a {layout.name} checkpoint: {why}")
    symmetric = _all_symmetric(modules)
    with (
        open_writer(layout, output, checkpoint, WriterOptions(recipe=f"converted from {directory.name}")) as writer,
        progress_bar("convert", sum(module.nbytes for module in modules)) as advance,
    ):
        for module in modules:
            writer.write_module(module.name, _with_symmetry(module.codes(0, module.shape[0]), symmetric))
            advance(module.nbytes)
    return ConvertResult(
        output=str(output),
        source_layout=str(configuration["quant_method"]),
        layout=layout.name,
        modules=len(modules),
        bytes=writer.bytes_written,
        seconds=time.perf_counter() - started,
    )


def _all_symmetric(modules: Sequence[PackedModule]) -> bool:
    """Whether every zero point is the middle one, as AWQ's layout does not say it; stops at the first that is not."""
    return all(module.scheme.symmetric or _is_symmetric(module) for module in modules)


def _is_symmetric(module: PackedModule) -> bool:
    if module.scheme.kind is not Kind.INTEGER:
        return False
    step = max(1, (1 << 24) // module.shape[1])
    slabs = (module.codes(start, min(start + step, module.shape[0])) for start in range(0, module.shape[0], step))
    half = 1 << (module.scheme.bits - 1)
    return all(isinstance(codes, IntegerCodes) and bool((codes.zero_point == half).all()) for codes in slabs)


def _with_symmetry(codes: Codes, symmetric: bool) -> Codes:
    """One word for the whole checkpoint: GPTQ's configuration has room for no more."""
    return replace(codes, symmetric=symmetric) if isinstance(codes, IntegerCodes) else codes
