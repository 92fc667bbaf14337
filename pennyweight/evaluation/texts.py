"""Texts to evaluate or calibrate on: a file, or `wikitext-2` and `c4` by name through `datasets` when online.

    to evaluate on
    wikitext-2   Salesforce/wikitext, wikitext-2-raw-v1, split test: all rows, joined by "\\n\\n"
    c4           allenai/c4, the first English validation shard: its first 1100 documents, joined by " "
    to calibrate on
    wikitext-2   the same set's split train, all rows, joined by "\\n\\n"
    c4           the first English training shard: its first 2000 documents, joined by " "

Both are what GPTQ reads (its `wikitext2` and `c4-new`), and most papers after it; a set's training part never meets its
test. llama.cpp's own figures are on the file `wiki.test.raw`: the same lines without the blank ones that the join adds,
so another perplexity. GPTQ draws its calibration documents from all of the shard; here `--seed` draws chunks of 2000.

Source: GPTQ's `datautils.py` `get_wikitext2`, `get_c4_new`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
WIKITEXT_2_TRAIN = replace(
    WIKITEXT_2,
    options=(("split", "train"),),
    protocol='Salesforce/wikitext, wikitext-2-raw-v1, split train, all rows joined by "\\n\\n"',
)
C4_TRAIN = replace(
    C4,
    options=(
        ("data_files", {"train": "en/c4-train.00000-of-01024.json.gz"}),
        ("split", "train"),
        ("streaming", True),
    ),
    documents=2000,
    protocol="allenai/c4, en/c4-train.00000-of-01024, first 2000 documents joined by a space",
)
NAMED = (WIKITEXT_2, C4)
CALIBRATION = (WIKITEXT_2_TRAIN, C4_TRAIN)


def text_bytes(text: str | Path, named: tuple[NamedText, ...] = NAMED) -> bytes:
    """The bytes of the file `text`, or of the text of that name among `named`. A file of that name wins.

    Raises:
        BadRequest: a file that cannot be read, a text that cannot be fetched, or one that is empty.
        Missing: a named text without `datasets`.
    """
    known = _known(text, named)
    data = _fetch(known) if known else read_text(Path(text))
    if not data:
        raise BadRequest(f"{text} is empty; a text of at least two chunks of tokens is wanted")
    return data


def text_name(text: str | Path, named: tuple[NamedText, ...] = NAMED) -> str:
    """What the text is, for a report: a named text's protocol, or the path as it was written."""
    known = _known(text, named)
    return known.protocol if known else str(text)


def _known(text: str | Path, named: tuple[NamedText, ...]) -> NamedText | None:
    """The named text that is meant; None where a file is."""
    return None if Path(text).is_file() else next((known for known in named if known.name == str(text)), None)


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
