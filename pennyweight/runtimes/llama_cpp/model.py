"""A GGUF model loaded by llama.cpp: its facts, its tokenizer, and the handle that contexts are made from."""

import ctypes
import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pennyweight.core.errors import BadRequest, FormatError, UnsupportedModel
from pennyweight.runtimes.llama_cpp.distinct_tokens import require_distinct_tokens
from pennyweight.runtimes.llama_cpp.shared_object import clear_log, layers_offloaded, library, raise_interrupt, why
from pennyweight.runtimes.llama_cpp.structs import LOAD_MODE_MMAP, LOAD_MODE_NONE
from pennyweight.runtimes.vocabulary import vocabulary_hash

_TOKENS = ctypes.POINTER(ctypes.c_int32)


class Closable(Protocol):
    """What a model closes before itself."""

    def close(self) -> None:
        """Free it; harmless when repeated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What llama.cpp says about a loaded model.

    Attributes:
        description: architecture, size class and file type, as llama-bench prints it (`qwen3 0.6B Q4_K - Medium`).
        tensor_bytes: bytes of all tensors.
        parameters: number of weights.
        n_ctx_train: tokens of context the model was trained for.
        bos, eos: token ids, -1 where the vocabulary has none.
        add_bos, add_eos: whether `tokenize(add_special=True)` adds them.
    """

    description: str
    tensor_bytes: int
    parameters: int
    n_vocab: int
    n_ctx_train: int
    n_layer: int
    n_embd: int
    bos: int
    eos: int
    add_bos: bool
    add_eos: bool


class Model:
    """A loaded model; a context manager. Closing it closes the contexts made from it.

    Attributes:
        gpu_layers: layers that llama.cpp put on a GPU, the output counted as one.
    """

    def __init__(self, handle: int, path: Path, *, vocabulary_only: bool, gpu_layers: int = 0) -> None:
        self.path = path
        self.gpu_layers = gpu_layers
        self.handle = handle
        self.vocabulary_only = vocabulary_only
        self.vocab: int = library().llama_model_get_vocab(handle)
        self._free = weakref.finalize(self, library().llama_model_free, handle)
        self._contexts: weakref.WeakSet[Closable] = weakref.WeakSet()

    @classmethod
    def load(
        cls, path: Path | str, *, n_gpu_layers: int = 0, use_mmap: bool = True, vocabulary_only: bool = False
    ) -> "Model":
        """Load a GGUF file (of a split model, its first part); `vocabulary_only` for a tokenizer without weights.

        Raises: BadRequest where there is no such file; FormatError where llama.cpp refuses it, with its reason;
            UnsupportedModel for a model without a vocabulary.
        """
        path = Path(path)
        if not path.is_file():
            raise BadRequest(f"{path}: {'is a directory' if path.is_dir() else 'no such file'}; a GGUF file is wanted")
        require_distinct_tokens(path)
        params = library().llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.load_mode = LOAD_MODE_MMAP if use_mmap else LOAD_MODE_NONE
        params.vocab_only = vocabulary_only
        clear_log()
        handle = library().llama_model_load_from_file(os.fsencode(path), params)
        if not handle:
            raise FormatError(f"{path}: llama.cpp cannot load it: {why()}")
        model = cls(handle, path, vocabulary_only=vocabulary_only, gpu_layers=layers_offloaded())
        raise_interrupt(model.close)
        if not library().llama_vocab_type(model.vocab):
            model.close()
            raise UnsupportedModel(f"{path}: has no vocabulary, without which llama.cpp cannot read a text")
        return model

    def close(self) -> None:
        """Free the model and every context made from it; harmless when repeated."""
        for context in list(self._contexts):
            context.close()
        self._free()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def adopt(self, context: Closable) -> None:
        """Close `context` before this model."""
        self._contexts.add(context)

    @property
    def closed(self) -> bool:
        """Whether the C side is gone."""
        return not self._free.alive

    @cached_property
    def facts(self) -> ModelFacts:
        """What llama.cpp says about the model."""
        lib, model, vocab = library(), self.handle, self.vocab
        text = ctypes.create_string_buffer(256)
        lib.llama_model_desc(model, text, len(text))
        return ModelFacts(
            description=text.value.decode("utf-8", "replace"),
            tensor_bytes=lib.llama_model_size(model),
            parameters=lib.llama_model_n_params(model),
            n_vocab=lib.llama_vocab_n_tokens(vocab),
            n_ctx_train=lib.llama_model_n_ctx_train(model),
            n_layer=lib.llama_model_n_layer(model),
            n_embd=lib.llama_model_n_embd(model),
            bos=lib.llama_vocab_bos(vocab),
            eos=lib.llama_vocab_eos(vocab),
            add_bos=lib.llama_vocab_get_add_bos(vocab),
            add_eos=lib.llama_vocab_get_add_eos(vocab),
        )

    def metadata(self, key: str) -> str | None:
        """The GGUF metadata value of `key` as text, or None; arrays cannot be read this way."""
        size = library().llama_model_meta_val_str(self.handle, key.encode(), None, 0)
        if size < 0:
            return None
        text = ctypes.create_string_buffer(size + 1)
        library().llama_model_meta_val_str(self.handle, key.encode(), text, len(text))
        return text.value.decode("utf-8", "replace")

    def rewinds(self, n_ctx: int) -> bool:
        """Whether a sequence of up to `n_ctx` tokens can forget its end and go on as if it had never been read.

        Not where a running state stands in for the keys (Mamba, RWKV, hybrids), and not where a window slides: the keys
        that left the window are gone, and the earlier position would miss them without any error.
        """
        lib = library()
        if lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle):
            return False
        window = lib.llama_model_n_swa(self.handle)
        return window == 0 or n_ctx <= window

    @cached_property
    def vocabulary_hash(self) -> str:
        """`vocabulary_hash` of the token texts in the file: equal where a token id means the same."""
        text = library().llama_vocab_get_text
        texts = (text(self.vocab, token) for token in range(self.facts.n_vocab))
        return vocabulary_hash(texts, self.facts.bos if self.facts.add_bos else None)

    def tokenize(
        self, text: str | bytes, *, add_special: bool = False, parse_special: bool = False
    ) -> NDArray[np.int32]:
        """Text → token ids, int32 (tokens,). Bytes need not be UTF-8; they are taken as llama.cpp takes them.

        Args:
            add_special: add BOS and EOS where the model asks for them.
            parse_special: read `<|im_start|>` and the like as control tokens instead of plain text.
        """
        # A command line that is no UTF-8 reaches Python with halves of pairs, which no encoding has.
        data = text.encode("utf-8", "replace") if isinstance(text, str) else text
        if len(data) > 2**31 - 3:
            raise BadRequest(f"the text has {len(data)} bytes; llama.cpp tokenizes at most 2 GiB at a time")
        tokens = np.empty(len(data) + 2, np.int32)  # a token is at least a byte; BOS and EOS come on top
        for _ in range(2):
            pointer = tokens.ctypes.data_as(_TOKENS)
            count = library().llama_tokenize(
                self.vocab, data, len(data), pointer, len(tokens), add_special, parse_special
            )
            if count >= 0:
                return tokens[:count].copy()
            tokens = np.empty(-count, np.int32)  # normalization can lengthen a text
        raise UnsupportedModel(f"{self.path}: llama.cpp gives two different lengths for one text")

    def detokenize(self, tokens: Iterable[int], *, special: bool = False) -> str:
        """Token ids → text; bytes that are no UTF-8 (a cut character) show as �. Control tokens only if `special`."""
        ids = self.checked(np.fromiter(tokens, np.int32))
        size = max(64, 16 * len(ids))
        for _ in range(2):
            text = ctypes.create_string_buffer(size)
            pointer = ids.ctypes.data_as(_TOKENS)
            count = library().llama_detokenize(self.vocab, pointer, len(ids), text, size, False, special)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            size = -count
        raise UnsupportedModel(f"{self.path}: llama.cpp gives two different lengths for one text")

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes one token stands for; part of a character, perhaps."""
        self._check(token)
        size = 64
        for _ in range(2):
            text = ctypes.create_string_buffer(size)
            count = library().llama_token_to_piece(self.vocab, token, text, size, 0, special)
            if count >= 0:
                return text.raw[:count]
            size = -count
        raise UnsupportedModel(f"{self.path}: llama.cpp gives two different lengths for token {token}")

    def ends_generation(self, token: int) -> bool:
        """Whether `token` closes an answer (EOS, end of turn, …)."""
        self._check(token)
        return library().llama_vocab_is_eog(self.vocab, token)

    def checked(self, tokens: NDArray[np.integer]) -> NDArray[np.int32]:
        """`tokens` as contiguous int32, all of them in the vocabulary. Raises: BadRequest."""
        if self.closed:
            raise ValueError(f"{self.path}: the model is closed")  # a bug of the caller, and a crash in C
        outside = (tokens < 0) | (tokens >= self.facts.n_vocab)
        if outside.any():
            where = int(np.argmax(outside))
            self._check(int(tokens[where]), f" at {where}")
        return np.ascontiguousarray(tokens, np.int32)

    def _check(self, token: int, where: str = "") -> None:
        if self.closed:
            raise ValueError(f"{self.path}: the model is closed")
        if not 0 <= token < self.facts.n_vocab:
            raise BadRequest(f"token {token}{where} is outside the vocabulary of {self.facts.n_vocab} tokens")
