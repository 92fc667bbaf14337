"""Text → token ids: a directory's byte-level tokenizer.json through `tokenizers`, all other vocabularies by llama.cpp.

The two give the same ids for the same model, so control tokens are plain text in both, and BOS is what the checkpoint's
metadata says. llama.cpp applies no Unicode normalization under byte-level BPE, so neither is NFC applied here.
SentencePiece goes through llama.cpp from a directory too: `tokenizers` reads text, and its bytes need not be UTF-8.
"""

import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pennyweight.checkpoints.base import Checkpoint
from pennyweight.containers.gguf import StringArray
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.core.errors import FormatError, Missing, UnsupportedModel
from pennyweight.runtimes.llama_cpp.model import Model
from pennyweight.runtimes.vocabulary import vocabulary_hash

_REPLACEMENT = "\ufffd"
_LONE = dict.fromkeys(range(0xDC80, 0xDD00), _REPLACEMENT)


class Tokens(Protocol):
    """What cuts a text; `bos` and `vocabulary_hash` as in `evaluation.engine.LogitsEngine`."""

    @property
    def bos(self) -> int | None:
        """The token that starts a text, None where the model adds none."""
        ...

    @property
    def vocabulary_hash(self) -> str:
        """What the ids mean."""
        ...

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """The whole text as int32 (tokens,), BOS first where the model adds it."""
        ...


def tokens_of(checkpoint: Checkpoint) -> Tokens:
    """The tokenizer of a checkpoint.

    Raises: UnsupportedModel where the tokenizer ends every text with EOS; FormatError for a broken one.
    """
    source, model = Path(checkpoint.source), checkpoint.metadata.get("tokenizer.ggml.model")
    if source.is_dir() and model is not None and model.value == "gpt2":
        return DirectoryTokens(source, checkpoint)
    if source.is_dir():  # the vocabulary is in the metadata, which llama.cpp takes from a file only
        with tempfile.TemporaryDirectory(prefix="pennyweight-") as directory:
            return LlamaCppTokens(_vocabulary_file(checkpoint, Path(directory) / "vocabulary.gguf"))
    return LlamaCppTokens(source)


class LlamaCppTokens:
    """llama.cpp's tokenizer of a GGUF file, loaded without weights."""

    def __init__(self, path: Path) -> None:
        self._model = Model.load(path, vocabulary_only=True)
        facts = self._model.facts
        _refuse_eos(facts.add_eos, path)
        self.bos = facts.bos if facts.add_bos else None
        self.vocabulary_hash = self._model.vocabulary_hash

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """As `Tokens.tokenize`."""
        return self._model.tokenize(text, add_special=True)


class DirectoryTokens:
    """A directory's tokenizer.json, byte-level BPE, read by `tokenizers`."""

    def __init__(self, directory: Path, checkpoint: Checkpoint) -> None:
        def stated(key: str) -> Any:
            value = checkpoint.metadata.get(f"tokenizer.ggml.{key}")
            return None if value is None else value.value

        _refuse_eos(stated("add_eos_token"), directory)
        self.bos: int | None = stated("bos_token_id") if stated("add_bos_token") else None
        texts = stated("tokens")
        items = texts if isinstance(texts, StringArray) else []
        self.vocabulary_hash = vocabulary_hash((text.encode("utf-8", "surrogateescape") for text in items), self.bos)
        self._tokenizer = _tokenizer(directory / "tokenizer.json")

    def tokenize(self, text: bytes) -> NDArray[np.int32]:
        """As `Tokens.tokenize`; each byte that is not UTF-8 is read as U+FFFD, as llama.cpp does."""
        known = text.decode("utf-8", "surrogateescape").translate(_LONE)
        ids = self._tokenizer.encode(known, add_special_tokens=False).ids
        return np.array(ids if self.bos is None else [self.bos, *ids], np.int32)


def _tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer, normalizers
    except ImportError as error:
        raise Missing("a directory's tokenizer needs tokenizers: pip install tokenizers") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # it raises nothing more exact
        raise FormatError(f"{path}: tokenizers cannot read it: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # `<|im_end|>` in a text is text, as in llama.cpp
    tokenizer.normalizer = normalizers.Sequence([])
    return tokenizer


def _vocabulary_file(checkpoint: Checkpoint, path: Path) -> Path:
    with GGUFWriter(path, checkpoint.metadata, []):
        return path


def _refuse_eos(adds_eos: bool | None, path: Path) -> None:
    if adds_eos:
        raise UnsupportedModel(f"{path}: its tokenizer ends every text with EOS; perplexity is undefined")
