"""Names and shapes: tensors that are missing, that nobody knows, of another shape; and what `ignore` says of them."""

import re
from collections.abc import Iterator, Sequence

from pennyweight.checkpoints.lint.directory import Directory
from pennyweight.checkpoints.lint.finding import Finding, some
from pennyweight.models.families import IGNORED_SUFFIXES, OUTPUT

_REGEX = "re:"
_MAX_PATTERN = 200
_MAX_NAME = 128
_MAX_CHOICES = 4
_REPEATED_GROUP = re.compile(r"\)\s*[+*{]")
_CHOICE = re.compile(r"\(\?[:=!]|[(+*?{]")
_IGNORE_KEYS = ("ignore", "modules_to_not_convert", "llm_int8_skip_modules")


def missing_and_unknown(directory: Directory) -> Iterator[Finding]:
    """Tensors against the family's table."""
    if directory.config is None or directory.modules is None:
        return
    stored = directory.stored
    packed = {tensor.name for module in directory.modules for tensor in module.tensors}
    shapes = {f"{module.name}.weight": module.shape for module in directory.modules}
    shapes |= {name: tensor.shape for name, tensor in stored.items() if name not in packed}
    known, missing = set[str](), []
    for place in directory.places():
        known.add(place.stored)
        if place.stored not in shapes:
            needed = place.tensor == OUTPUT and not directory.config.tied
            missing += [place.stored] if needed or not _optional(place.tensor, directory) else []
        elif shapes[place.stored] != place.shape:
            yield Finding(
                level="error",
                check="shape",
                where=place.stored,
                message=f"shape {shapes[place.stored]}, config.json implies {place.shape}",
                advice="config.json and tensors are of different models",
            )
    fused = any(".mlp.experts.gate_up_proj" in name for name in shapes)
    if missing and not fused:
        yield Finding(
            level="error",
            check="missing",
            where=missing[0],
            message=f"{len(missing)} tensors are missing: {some(missing)}",
            advice="download the checkpoint again, or quantize it again",
        )
    unknown = [n for n in shapes if n not in known and not n.endswith(IGNORED_SUFFIXES) and ".mlp.experts." not in n]
    if unknown:
        yield Finding(
            level="error",
            check="unexpected",
            where=unknown[0],
            message=f"{len(unknown)} tensors a {directory.config.family.class_name} does not have: {some(unknown)}",
            advice="loaders drop such tensors silently, and what they stood for is lost",
        )


def _optional(tensor: str, directory: Directory) -> bool:
    assert directory.config is not None
    name = re.sub(r"^blk\.\d+\.", "blk.{block}.", tensor)
    return any(rule.name == name and rule.optional for rule in directory.config.family.tensors)


def ignored(directory: Directory) -> Iterator[Finding]:
    """`ignore` and its sisters against the modules that are there."""
    if not directory.quantization or directory.modules is None:
        return
    key = next((key for key in _IGNORE_KEYS if isinstance(directory.quantization.get(key), list)), None)
    names = [name for name in directory.quantization[key] if isinstance(name, str)] if key else []
    quantized = {module.name for module in directory.modules}
    modules = {name.removesuffix(".weight") for name in directory.stored if name.endswith(".weight")}
    # An output tied to the embedding, and parents of modules, may be named though they have no tensor.
    parents = {name[: match.start()] for name in modules | quantized for match in re.finditer(r"\.", name)}
    known = modules | quantized | parents | {"lm_head"}
    for name in names:
        if name.startswith(_REGEX) and not _safe(name):
            yield Finding(
                level="note",
                check="ignore",
                where=name,
                message="this expression could take very long, or is none; not evaluated",
            )
        elif not any(_matches(name, module) for module in known):
            yield Finding(
                level="warning",
                check="ignore",
                where=name,
                message=f"{key} names a module that the checkpoint does not have",
                advice="runtimes then quantize, or expect quantized, what was meant to stay as it is",
            )
    contradicted = sorted(module for module in quantized if any(_matches(name, module) for name in names))
    if contradicted:
        yield Finding(
            level="error",
            check="ignore",
            where=contradicted[0],
            message=f"{key} names {len(contradicted)} modules that are quantized: {some(contradicted)}",
            advice=f"take them out of {key}",
        )
    yield from _unnamed(directory, key, names)


def _unnamed(directory: Directory, key: str | None, names: Sequence[str]) -> Iterator[Finding]:
    """Linear layers that are not quantized, and that nothing says so of."""
    if key is None and directory.quantization.get("quant_method") not in ("compressed-tensors", "awq"):
        return
    plain = [
        p.module for p in directory.places() if p.is_linear and p.stored in directory.stored and _is_plain(p, directory)
    ]
    # The output and the experts' router stay as they are with most loaders, named or not.
    left = [m for m in plain if m != "lm_head" and not m.endswith(".gate") and not any(_matches(n, m) for n in names)]
    unread = any(name.startswith(_REGEX) and not _safe(name) for name in names)
    if left and not unread:
        yield Finding(
            level="error",
            check="ignore",
            where=left[0],
            message=f"{len(left)} linear layers are neither quantized nor named by {key or 'ignore'}: {some(left)}",
            advice=f"add them to {key or 'ignore'}; loaders look for packed tensors there",
        )


def _is_plain(place, directory: Directory) -> bool:
    return directory.stored[place.stored].format in ("F32", "F16", "BF16")


def _matches(name: str, module: str) -> bool:
    """As compressed-tensors (`re:`, whole names) and AutoAWQ (part of a name) match."""
    if name.startswith(_REGEX):
        return _safe(name) and re.match(name.removeprefix(_REGEX), module[:_MAX_NAME]) is not None
    return name == module or f".{name}." in f".{module}."


def _safe(name: str) -> bool:
    """Whether the expression compiles, is short, repeats no group and has few choices: a stranger wrote it.

    n groups and repeats of characters take (length of a name)ⁿ / n! steps or so, a repeated group exponentially many.
    """
    pattern = name.removeprefix(_REGEX)
    if len(pattern) > _MAX_PATTERN or _REPEATED_GROUP.search(pattern) or len(_CHOICE.findall(pattern)) > _MAX_CHOICES:
        return False
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
