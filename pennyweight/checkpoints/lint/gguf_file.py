"""A GGUF file: its header, its types, its tokenizer, whole blocks, and scales that are no numbers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pennyweight import formats
from pennyweight.checkpoints.lint.finding import Finding, some
from pennyweight.containers.tensor import StoredTensor
from pennyweight.core.errors import PennyweightError, UnknownName
from pennyweight.models.shape import shape_from_metadata


def known_types(tensors: Sequence[StoredTensor]) -> Iterator[Finding]:
    """Types that did not exist when this was written."""
    unknown = [tensor for tensor in tensors if not _known(tensor)]
    if unknown:
        yield Finding(
            level="error",
            check="types",
            where=unknown[0].name,
            message=f"{len(unknown)} tensors are of a type not known here: {some([t.format for t in unknown])}",
            advice="update, or take a file of another type",
        )


def readable(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Tensors whose numbers can be looked at."""
    return [tensor for tensor in tensors if _known(tensor)]


def _known(tensor: StoredTensor) -> bool:
    try:
        formats.get(tensor.format)
    except UnknownName:
        return False
    return tensor.row_bytes is not None


def metadata(found: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that llama.cpp cannot do without."""
    try:
        shape_from_metadata(found)
    except PennyweightError as error:
        yield Finding(level="error", check="metadata", where="", message=str(error), advice="convert the model again")
    if "tokenizer.ggml.model" not in found or "tokenizer.ggml.tokens" not in found:
        yield Finding(
            level="error",
            check="tokenizer",
            where="tokenizer.ggml.tokens",
            message="the file has no tokenizer: llama.cpp loads it, but cannot read a text",
            advice="convert the model again, with its tokenizer files beside it",
        )
    elif found["tokenizer.ggml.model"].value == "gpt2" and "tokenizer.ggml.pre" not in found:
        yield Finding(
            level="warning",
            check="tokenizer",
            where="tokenizer.ggml.pre",
            message="the pre-tokenizer is not named: llama.cpp falls back to a default and splits words otherwise",
            advice="convert the model again with a converter of 2024 or later",
        )
    if "tokenizer.chat_template" not in found:
        yield Finding(
            level="note", check="tokenizer", where="tokenizer.chat_template", message="there is no chat template"
        )


def blocks(names: Sequence[str]) -> Iterator[Finding]:
    """Blocks that lack what others have (alternating kinds of blocks are not that: both kinds are many)."""
    kinds: dict[str, frozenset[str]] = {}
    for name in names:
        if name.startswith("blk.") and name.count(".") >= 2:
            _, block, part = name.split(".", 2)
            kinds[block] = kinds.get(block, frozenset()) | {part}
    count = Counter(kinds.values())
    if not count:
        return
    usual = count.most_common(1)[0][0]
    for block, parts in kinds.items():
        lacking = sorted(usual - parts)
        if lacking and parts < usual and count[parts] == 1:
            yield Finding(
                level="warning",
                check="missing",
                where=f"blk.{block}",
                message=f"block {block} lacks {some(lacking)}, which other blocks have",
                advice="was the conversion cut short?",
            )
