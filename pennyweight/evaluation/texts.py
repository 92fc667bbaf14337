"""Texts to evaluate on: a file, or `wikitext-2` and `c4` by name through the `datasets` library when online.

    wikitext-2   Salesforce/wikitext, wikitext-2-raw-v1, split test: all rows, joined by "\\n\\n"
    c4           allenai/c4, the first English validation shard: its first 1100 documents, joined by " "

Both are what GPTQ's evaluation reads (its `wikitext2` and `c4-new`), and most papers after it. llama.cpp's own figures
are on the file `wiki.test.raw`: the same lines without the blank ones that the join adds, so another perplexity.

Source: GPTQ's `datautils.py` `get_wikitext2`, `get_c4_new`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from pennyweight.core.errors import BadRequest, Missing
from pennyweight.evaluation.engine import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedText:
    """A text of the `datasets` library.

    Attributes:
        name: what a user writes.
        arguments: of `datasets.load_dataset`.
        options: its named options.
        documents: how many rows are read; None for all.
        between: what joins them.
        protocol: the text in words, for a report.
    """

    name: str
    arguments: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]
    documents: int | None
    between: str
    protocol: str


WIKITEXT_2 = NamedText(
    name="wikitext-2",
    arguments=("Salesforce/wikitext", "wikitext-2-raw-v1"),
    options=(("split", "test"),),
    documents=None,
    between="\n\n",
    protocol='Salesforce/wikitext, wikitext-2-raw-v1, split test, all rows joined by "\\n\\n"',
)
C4 = NamedText(
    name="c4",
    arguments=("allenai/c4",),
    # Streaming: a shard has 45,000 documents, of which the first are read.
    options=(
        ("data_files", {"validation": "en/c4-validation.00000-of-00008.json.gz"}),
        ("split", "validation"),
        ("streaming", True),
    ),
    documents=1100,
    between=" ",
    protocol="allenai/c4, en/c4-validation.00000-of-00008, first 1100 documents joined by a space",
)
NAMED = (WIKITEXT_2, C4)


def text_bytes(text: str | Path) -> bytes:
    """The bytes to score: of the file `text`, or of the text of that name. A file of that name wins.

    Raises:
        BadRequest: a file that cannot be read, a text that cannot be fetched, or one that is empty.
        Missing: a named text without `datasets`.
    """
    named = next((known for known in NAMED if known.name == str(text)), None)
    data = read_text(Path(text)) if named is None or Path(text).is_file() else _fetch(named)
    if not data:
        raise BadRequest(f"{text} is empty; a text of at least two chunks of tokens is wanted")
    return data


def text_name(text: str | Path) -> str:
    """What the text is, for a report: a named text's protocol, or the path as it was written."""
    named = next((known for known in NAMED if known.name == str(text)), None)
    return str(text) if named is None or Path(text).is_file() else named.protocol


def _fetch(named: NamedText) -> bytes:
    """Raises: Missing, BadRequest."""
    load = _load_dataset(named)
    try:
        rows: Iterable[Mapping[str, Any]] = load(*named.arguments, **dict(named.options))
        texts = [row["text"] for row in islice(rows, named.documents)]
    # datasets raises errors of its own, of huggingface_hub, of requests, of fsspec, and plain OSError.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadRequest(
            f"cannot fetch {named.name} ({named.arguments[0]}): {reason}; go online, or name a file"
        ) from error
    return named.between.join(texts).encode()


def _load_dataset(named: NamedText) -> Callable[..., Any]:
    try:
        return import_module("datasets").load_dataset
    except ImportError as error:
        raise Missing(
            f"{named.name} comes through the datasets library: pip install 'pennyweight[texts]', or name a text file"
        ) from error
