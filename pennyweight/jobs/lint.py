"""lint: is a checkpoint sound, and where does it load? Said before a deployment finds out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pennyweight.checkpoints.lint import gguf_file, names, packing, values
from pennyweight.checkpoints.lint.directory import Directory, open_directory
from pennyweight.checkpoints.lint.finding import LEVELS, Finding
from pennyweight.checkpoints.lint.runtimes import GGUF, Support, support
from pennyweight.checkpoints.open import local_path
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import BadRequest, FormatError
from pennyweight.core.progress import progress_bar

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """What was found.

    Attributes:
        checkpoint: the path.
        layout: `quant_method`, `GGUF`, or `unquantized`.
        tensors: how many there are; 0 where the file could not be opened.
        findings: errors first.
        runtimes: who loads it.
        sound: no error was found.
    """

    checkpoint: str
    layout: str
    tensors: int
    findings: tuple[Finding, ...]
    runtimes: tuple[Support, ...]
    sound: bool


def lint(checkpoint: str, *, tensor_parallel: int = 1, everything: bool = False) -> LintResult:
    """Check a Hugging Face directory or a GGUF file.

    Args:
        tensor_parallel: ranks that a runtime shall share it between.
        everything: look at every number for NaN, not at samples.

    Raises: BadRequest where there is nothing of that name, or ranks below 1. A broken file is a finding.
    """
    if tensor_parallel < 1:
        raise BadRequest(f"--tp is {tensor_parallel}; at least 1 rank is wanted")
    path = local_path(checkpoint)
    try:
        if path.suffix == ".gguf":
            return _gguf(path, everything)
        return _directory(open_directory(path), tensor_parallel, everything)
    except FormatError as error:
        broken = Finding(level="error", check="file", where=str(path), message=str(error), advice="download it again")
        return _result(path, "unreadable", 0, [broken], ())


def _directory(found: Directory, ranks: int, everything: bool) -> LintResult:
    findings = [
        *found.problems,
        *names.missing_and_unknown(found),
        *names.ignored(found),
        *packing.zero_points(found),
        *packing.act_order(found),
        *packing.packing_era(found),
        *packing.static_inputs(found),
        *packing.transforms(found),
        *packing.tensor_parallel(found, ranks),
        *_values(values.float_tensors(found.stored), everything),
    ]
    if not any((found.path / name).is_file() for name in TOKENIZERS):
        message = "neither tokenizer.json nor tokenizer.model"
        findings.append(Finding(level="warning", check="tokenizer", where=str(found.path), message=message))
    act_ordered = any(finding.check == "act-order" for finding in findings)
    layout = str(found.quantization.get("quant_method", "unknown")) if found.quantization else "unquantized"
    runtimes = support(found.quantization, found.modules or (), act_ordered)
    return _result(found.path, layout, len(found.stored), findings, runtimes)


def _gguf(path: Path, everything: bool) -> LintResult:
    file = open_gguf(path)
    tensors = list(file.tensors.values())
    findings = [
        *gguf_file.metadata(file.metadata),
        *gguf_file.known_types(tensors),
        *gguf_file.blocks(list(file.tensors)),
        *_values(gguf_file.readable(tensors), everything),
    ]
    return _result(path, "GGUF", len(tensors), findings, GGUF)


def _values(tensors: list[StoredTensor], everything: bool) -> list[Finding]:
    with progress_bar("values", values.to_read(tensors, everything)) as advance:
        return list(values.values(tensors, everything, advance))


def _result(
    path: Path, layout: str, tensors: int, findings: Iterable[Finding], runtimes: tuple[Support, ...]
) -> LintResult:
    ordered = tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))
    sound = all(finding.level != "error" for finding in ordered)
    return LintResult(
        checkpoint=str(path), layout=layout, tensors=tensors, findings=ordered, runtimes=runtimes, sound=sound
    )
