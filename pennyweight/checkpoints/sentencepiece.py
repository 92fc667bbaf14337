"""SentencePiece's tokenizer.model, and the same vocabulary out of a tokenizer.json that transformers made of it.

A tokenizer.model is one protobuf message. The few fields needed here are read by forty lines below rather than by the
sentencepiece package, whose binary the base install would carry for one file; a test compares the two.

    ModelProto:    1 pieces (repeated)      2 trainer_spec         3 normalizer_spec
    SentencePiece: 1 piece (string)         2 score (float)        3 type (enum)
    TrainerSpec:   3 model_type (1 unigram, 2 BPE)
    NormalizerSpec: 2 precompiled_charsmap  3 add_dummy_prefix     4 remove_extra_whitespaces

Source: sentencepiece_model.proto; llama.cpp src/llama-vocab.cpp `llm_tokenizer_spm`.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pennyweight.checkpoints.vocabulary import (
    SPACE_MARK,
    Token,
    TokenType,
    Vocabulary,
    added_entries,
    read_ids,
    read_merges,
)
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.core.units import MIB

MAX_BYTES = 64 * MIB  # the largest in circulation has about 5
_BPE = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


def read_sentencepiece(path: Path) -> Vocabulary:
    """Read tokenizer.model.

    Raises:
        FormatError: the file is broken.
        UnsupportedModel: it is no BPE model, or normalizes text in a way that llama.cpp does not.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{path}: {path.stat().st_size} bytes; wanted at most {MAX_BYTES}")
        fields = list(_fields(path.read_bytes()))
        tokens = [_token(piece) for number, piece in fields if number == 1 and isinstance(piece, bytes)]
        trainer = dict(_fields(next((value for number, value in fields if number == 2), b"")))
        normalizer = dict(_fields(next((value for number, value in fields if number == 3), b"")))
    except (struct.error, ValueError, TypeError) as error:
        raise FormatError(f"{path}: not a SentencePiece model: {error}") from error
    if not tokens:
        raise FormatError(f"{path}: a SentencePiece model with no pieces")
    if trainer.get(3, 1) != _BPE:
        raise UnsupportedModel(
            f"{path}: SentencePiece model type {trainer.get(3, 1)}; llama.cpp's tokenizer is BPE (2)"
        )
    if normalizer.get(2) or normalizer.get(4, 1):
        raise UnsupportedModel(
            f"{path}: the tokenizer rewrites characters or removes extra spaces; llama.cpp's would leave both"
        )
    prefix = None if normalizer.get(3, 1) else False
    return Vocabulary(model="llama", pre="default", tokens=dict(enumerate(tokens)), space_prefix=prefix)


def sentencepiece_from_json(tokenizer: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a tokenizer.json whose model is BPE with byte fallback (Llama 2 as transformers saves it).

    llama.cpp merges whichever neighbours make the piece of the highest score; tokenizers merges the pair of the lowest
    rank. The two agree where each piece's merges stand together and are all the ways to cut it into two pieces: then
    a piece's place in the list is its score. Both are checked.

    Raises:
        FormatError: the file is not what such a file looks like.
        UnsupportedModel: the merges are not SentencePiece's.
    """
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise FormatError("tokenizer.json: model is missing")
    ids = read_ids(model)
    pairs = read_merges(model)
    ranks = _piece_ranks(pairs)
    _require_all_cuts(pairs, ids, {str(entry.get("content")) for entry in added_entries(tokenizer)})
    unknown = model.get("unk_token")
    tokens = {number: _derived_token(text, ranks, unknown) for text, number in ids.items()}
    return Vocabulary(model="llama", pre="default", tokens=tokens, space_prefix=_space_prefix(tokenizer))


def _token(message: bytes) -> Token:
    fields = dict(_fields(message))
    text, kind = fields.get(1, b""), TokenType(fields.get(3, 1))
    if not isinstance(text, bytes):
        raise ValueError("a piece that is no string")
    piece = text.decode()
    # Matched in the raw text, where a space is a space.
    piece = piece.replace(SPACE_MARK, " ") if kind is TokenType.USER_DEFINED else piece
    return Token(text=piece, type=kind, score=struct.unpack("<f", fields.get(2, bytes(4)))[0])


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message's fields: int for varints, bytes for the rest. Raises: ValueError."""
    if not isinstance(message, bytes):
        raise ValueError("a message is wanted, got a number")
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            length, position = _varint(message, position) if kind == _BYTES else (_fixed(kind), position)
            if length > len(message) - position:
                raise ValueError(f"a field of {length} bytes where {len(message) - position} are left")
            value, position = message[position : position + length], position + length
        yield key >> 3, value


def _fixed(kind: int) -> int:
    if kind not in (_FIXED32, _FIXED64):
        raise ValueError(f"wire type {kind}")
    return 4 if kind == _FIXED32 else 8


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(10):  # 64 bits in groups of seven
        if position + index >= len(message):
            raise ValueError("the file ends inside a number")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number of more than 64 bits")


def _piece_ranks(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Piece → its place among the pieces that merges make. Raises: UnsupportedModel."""
    ranks: dict[str, int] = {}
    last = ""
    for left, right in merges:
        piece = left + right
        if piece != last and piece in ranks:
            raise UnsupportedModel(f"tokenizer.json: merges of {piece!r} stand apart, as SentencePiece's never do")
        ranks.setdefault(piece, len(ranks))
        last = piece
    return ranks


def _require_all_cuts(merges: list[tuple[str, str]], ids: Mapping[str, int], matched_first: set[str]) -> None:
    """Where two pieces make a third, a merge must say so; added tokens never get that far. Raises: UnsupportedModel."""
    known = set(merges)
    for piece in ids.keys() - matched_first:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids and (left, right) not in known:
                raise UnsupportedModel(
                    f"tokenizer.json: {left!r} and {right!r} do not merge into {piece!r}, as they would in "
                    "SentencePiece; llama.cpp has no tokenizer for such a vocabulary"
                )


def _derived_token(text: str, ranks: Mapping[str, int], unknown: Any) -> Token:
    if text == unknown:
        return Token(text=text, type=TokenType.UNKNOWN)
    if _BYTE_TOKEN.fullmatch(text):
        return Token(text=text, type=TokenType.BYTE)
    return Token(text=text, type=TokenType.NORMAL, score=-float(ranks.get(text, len(ranks))))


def _space_prefix(tokenizer: Mapping[str, Any]) -> bool:
    """Whether text gets a space in front: by the normalizer of old files, by `Metaspace` in new ones.

    Raises: UnsupportedModel where the text is treated in any other way.
    """
    normalizer, pre_tokenizer = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
    prepend = {"type": "Prepend", "prepend": SPACE_MARK}
    match (normalizer, pre_tokenizer):
        case ({"type": "Sequence", "normalizers": steps}, None) if steps in ([prepend, replace], [replace]):
            return steps == [prepend, replace]
        case (node, None) if node == replace:
            return False
        case (None, {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": False}):
            if mark == SPACE_MARK and scheme in ("first", "always", "never"):
                return scheme != "never"
    raise UnsupportedModel(
        f"tokenizer.json: normalizer {normalizer!r} with pre-tokenizer {pre_tokenizer!r} is not SentencePiece's; "
        "known: Prepend and Replace with ▁, or Metaspace"
    )
