"""One name for a vocabulary, so that two runtimes can tell whether their token ids mean the same."""

import hashlib
from collections.abc import Iterable


def vocabulary_hash(texts: Iterable[bytes], bos: int | None) -> str:
    """SHA-256 (64 hex digits) over every token's text in id order and the BOS id that starts a text (None: no BOS).

    Texts are those of `tokenizer.ggml.tokens`, in UTF-8. Merges and pre-tokenizer are not in it: where they differ, the
    two sides cut one text differently, which a comparison of the tokens shows.
    """
    digest = hashlib.sha256(f"bos {bos}\n".encode())
    for text in texts:
        digest.update(b"%d " % len(text) + text)
    return digest.hexdigest()
