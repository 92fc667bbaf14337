"""A vocabulary as GGUF holds it: tokens by id, their types, and scores or merges; checked before llama.cpp sees it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.core.errors import FormatError

SPACE_MARK = "▁"  # how SentencePiece writes a space


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`, and SentencePiece's own numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Token(NamedTuple):
    """One token; no dataclass, for there are 150,000 of them. `score` orders SentencePiece's merges, nothing else."""

    text: str
    type: TokenType
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a tokenizer file says, before padding.

    Attributes:
        model: `gpt2` (byte-level BPE) or `llama` (SentencePiece's BPE).
        pre: label of the pre-tokenizer.
        tokens: id → token; ids may have gaps.
        merges: of byte-level BPE, best first; empty for SentencePiece.
        space_prefix: whether a space is put before the text; None where the model does not ask.
    """

    model: str
    pre: str
    tokens: Mapping[int, Token]
    merges: tuple[str, ...] = ()
    space_prefix: bool | None = None


def read_ids(model: Mapping[str, Any]) -> dict[str, int]:
    """Token → id, of tokenizer.json's `model`. Raises: FormatError."""
    ids = model.get("vocab")
    if not isinstance(ids, dict) or any(type(number) is not int or number < 0 for number in ids.values()):
        raise FormatError("tokenizer.json: model.vocab is no map from tokens to ids")
    return ids


def read_merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of `model.merges`, written `"a b"` (before 2024) or `["a", "b"]`. Raises: FormatError."""
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise FormatError("tokenizer.json: model.merges is missing")
    return [_pair(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]


def _pair(merge: Any) -> tuple[str, str]:
    match merge:
        case [str(left), str(right)] if left and right:
            return left, right
    raise FormatError(f"tokenizer.json: merge {merge!r}; wanted two pieces")


def added_entries(tokenizer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`added_tokens` of tokenizer.json. Raises: FormatError."""
    entries = tokenizer.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FormatError("tokenizer.json: added_tokens is no list of objects")
    return entries


def with_added_tokens(vocabulary: Vocabulary, added: Iterable[Mapping[str, Any]]) -> Vocabulary:
    """Lay the tokens of `added_tokens` (id, content, special) over the vocabulary's own.

    Special ones become control tokens, which are never text; the rest are matched in the text before anything else.

    Raises: FormatError where an entry has no id or no content.
    """
    tokens = dict(vocabulary.tokens)
    for entry in added:
        number, text = entry.get("id"), entry.get("content")
        if type(number) is not int or number < 0 or not isinstance(text, str):
            raise FormatError(f"added token {dict(entry)!r}: wanted an id of at least 0 and a content")
        if entry.get("special") is True or _looks_special(text):
            tokens[number] = Token(text=text, type=TokenType.CONTROL, score=-1000.0)
        else:
            tokens[number] = Token(text=text.replace(SPACE_MARK, " "), type=TokenType.USER_DEFINED, score=-1000.0)
    return replace(vocabulary, tokens=tokens)


def vocabulary_metadata(vocabulary: Vocabulary, size: int) -> list[tuple[str, GGUFValue]]:
    """GGUF keys of a vocabulary, padded to the model's `size` with unused tokens `[PADi]`, in the converter's order.

    Raises: FormatError where an id is past `size`, or two tokens have one text (llama.cpp would abort).
    """
    if vocabulary.tokens and max(vocabulary.tokens) >= size:
        raise FormatError(
            f"the tokenizer has token {max(vocabulary.tokens)} ({vocabulary.tokens[max(vocabulary.tokens)].text!r}), "
            f"but config.json's vocab_size is {size}; wanted ids below it"
        )
    tokens = [vocabulary.tokens.get(number) or _padding(number) for number in range(size)]
    _require_distinct(tokens)
    keys = [
        ("tokenizer.ggml.model", _string(vocabulary.model)),
        ("tokenizer.ggml.pre", _string(vocabulary.pre)),
        ("tokenizer.ggml.tokens", GGUFValue.array(ValueType.STRING, [token.text for token in tokens])),
    ]
    if vocabulary.space_prefix is not None:
        prefix = GGUFValue.scalar(ValueType.BOOL, vocabulary.space_prefix)
        keys.insert(0, ("tokenizer.ggml.add_space_prefix", prefix))
    if not vocabulary.merges:
        scores = GGUFValue.array(ValueType.FLOAT32, [token.score for token in tokens])
        keys.append(("tokenizer.ggml.scores", scores))
    keys.append(("tokenizer.ggml.token_type", GGUFValue.array(ValueType.INT32, [token.type for token in tokens])))
    if vocabulary.merges:
        keys.append(("tokenizer.ggml.merges", GGUFValue.array(ValueType.STRING, vocabulary.merges)))
    return keys


def _padding(number: int) -> Token:
    return Token(text=f"[PAD{number}]", type=TokenType.UNUSED, score=-10000.0)


def _require_distinct(tokens: list[Token]) -> None:
    seen: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if not token.text:
            raise FormatError(f"token {number} of the tokenizer is empty")
        if seen.setdefault(token.text, number) != number:
            raise FormatError(f"tokens {seen[token.text]} and {number} of the tokenizer are both {token.text!r}")


def _looks_special(text: str) -> bool:
    """Control tokens that some checkpoints forget to call special; llama.cpp's converter has the same list."""
    pairs = (("<|", "|>"), ("<｜", "｜>"), ("<unused", ">"))
    return text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]") or any(
        text.startswith(opening) and text.endswith(closing) for opening, closing in pairs
    )


def _string(text: str) -> GGUFValue:
    return GGUFValue.scalar(ValueType.STRING, text)
