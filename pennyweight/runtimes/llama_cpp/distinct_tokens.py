"""The check of a vocabulary that llama.cpp makes by ending the whole process: no two tokens have the same text.

Source: llama.cpp src/llama-vocab.cpp `llama_vocab::impl::load`, the assertion that `id_to_token` and `token_to_id`
are of one size.
"""

from pathlib import Path

from pennyweight.containers.gguf import StringArray
from pennyweight.containers.gguf_reader import open_gguf
from pennyweight.core.errors import FormatError, PennyweightError

TOKENS = "tokenizer.ggml.tokens"


def require_distinct_tokens(path: Path) -> None:
    """Raises: FormatError where two tokens of a GGUF share a text. Empty texts may repeat; llama.cpp names those."""
    try:
        found = open_gguf(path).metadata.get(TOKENS)
    except PennyweightError:  # a file that we cannot read: llama.cpp says what is wrong with it, or runs it
        return
    if found is None or not isinstance(found.value, StringArray):
        return
    seen: dict[str, int] = {}
    for token, text in enumerate(found.value):
        if text and seen.setdefault(text, token) != token:
            raise FormatError(
                f"{path}: tokens {seen[text]} and {token} of its vocabulary are both {text!r}; llama.cpp wants each "
                "once, so the file is damaged"
            )
