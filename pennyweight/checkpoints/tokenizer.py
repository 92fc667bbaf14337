"""The tokenizer files of a Hugging Face directory → GGUF's `tokenizer.*` keys.

    tokenizer.json, BPE over bytes             → model `gpt2`, with a pre-tokenizer known by its structure
    tokenizer.model                            → model `llama`: SentencePiece's own file, pieces with their scores
    tokenizer.json, BPE with byte fallback     → model `llama`: SentencePiece again, scores from the order of the merges

In that order: where a directory has both, a byte-level tokenizer.json is the newer tokenizer, and a tokenizer.model is
the better source of what tokenizer.json only paraphrases.

Source: llama.cpp conversion/base.py `_set_vocab_gpt2`, `_create_vocab_sentencepiece`; gguf-py vocab.py `SpecialVocab`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pennyweight.checkpoints.json_file import read_json_if_there
from pennyweight.checkpoints.sentencepiece import read_sentencepiece, sentencepiece_from_json
from pennyweight.checkpoints.special_tokens import chat_template_metadata, special_metadata, special_tokens
from pennyweight.checkpoints.vocabulary import (
    Token,
    TokenType,
    Vocabulary,
    added_entries,
    read_ids,
    read_merges,
    vocabulary_metadata,
    with_added_tokens,
)
from pennyweight.containers.gguf import GGUFValue
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models.pretokenizers import identify

_MAX_DIGITS = 10  # of an id
_HIDDEN_SPACE = chr(ord(" ") + 256)  # how byte-level BPE spells a space, should a merge hold a bare one


def tokenizer_metadata(
    directory: Path, vocabulary_size: int, special_ids: Sequence[tuple[str, int]]
) -> list[tuple[str, GGUFValue]]:
    """Read a directory's tokenizer.

    Args:
        vocabulary_size: rows of the embedding; missing tokens are padded up to it.
        special_ids: `bos` … → id as config.json has them, for what the tokenizer's files leave open.

    Raises:
        UnsupportedModel: no tokenizer that llama.cpp has, or none at all.
        FormatError: a file is broken, or has more tokens than the embedding has rows.
    """
    try:
        return _keys(directory, vocabulary_size, special_ids)
    except UnicodeEncodeError as error:  # JSON can spell half a character; GGUF, being UTF-8, cannot
        raise FormatError(f"{directory}: text of the tokenizer is not Unicode: {error.object[:40]!r}") from error


def _keys(directory: Path, vocabulary_size: int, special_ids: Sequence[tuple[str, int]]) -> list[tuple[str, GGUFValue]]:
    tokenizer = read_json_if_there(directory / "tokenizer.json")
    config = read_json_if_there(directory / "tokenizer_config.json")
    vocabulary = with_added_tokens(_vocabulary(directory, tokenizer), _added_tokens(directory, tokenizer, config))
    if isinstance(config.get("add_prefix_space"), bool):
        vocabulary = _with_space_prefix(vocabulary, config["add_prefix_space"])
    keys = vocabulary_metadata(vocabulary, vocabulary_size)
    ids = {token.text: number for number, token in vocabulary.tokens.items()}
    # A directory with nothing but tokenizer.model is read by classes that put BOS in front.
    special = special_tokens(tokenizer, config, ids, special_ids, default_bos=not tokenizer)
    return [*keys, *special_metadata(special), *chat_template_metadata(directory, config)]


def _with_space_prefix(vocabulary: Vocabulary, wanted: bool) -> Vocabulary:
    if wanted and vocabulary.merges:
        raise UnsupportedModel(
            "tokenizer_config.json: add_prefix_space is true; llama.cpp's byte-level BPE adds no space"
        )
    return replace(vocabulary, space_prefix=wanted)


def _vocabulary(directory: Path, tokenizer: Mapping[str, Any]) -> Vocabulary:
    model = tokenizer.get("model") or {}
    if not isinstance(model, dict):
        raise FormatError(f"{directory}/tokenizer.json: model is no object")
    if model.get("type") == "BPE" and not model.get("byte_fallback"):
        return _byte_level(tokenizer, model)
    if (directory / "tokenizer.model").is_file():
        return read_sentencepiece(directory / "tokenizer.model")
    if model.get("type") == "BPE":
        return sentencepiece_from_json(tokenizer)
    if tokenizer:
        raise UnsupportedModel(f"{directory}/tokenizer.json: a tokenizer of type {model.get('type')!r}; wanted BPE")
    raise UnsupportedModel(
        f"{directory} has neither tokenizer.json nor tokenizer.model; vocab.json and merges.txt do not say how text is "
        "split into words: load the tokenizer with transformers and save it"
    )


def _byte_level(tokenizer: Mapping[str, Any], model: Mapping[str, Any]) -> Vocabulary:
    """Byte-level BPE. Raises: UnsupportedModel where the pre-tokenizer or an option of the model is unknown."""
    for option in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(option):
            raise UnsupportedModel(
                f"tokenizer.json: model.{option} is {model[option]!r}; llama.cpp's BPE has no such thing"
            )
    known = identify(tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer"), model.get("ignore_merges") is True)
    merges = tuple(" ".join(part.replace(" ", _HIDDEN_SPACE) for part in pair) for pair in read_merges(model))
    if not merges:
        raise FormatError("tokenizer.json: model.merges is empty; llama.cpp loads no byte-level BPE without merges")
    tokens = {number: Token(text=text, type=TokenType.NORMAL) for text, number in read_ids(model).items()}
    return Vocabulary(model="gpt2", pre=known.label, tokens=tokens, merges=merges)


def _added_tokens(directory: Path, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Tokens beside the model's own, from the three files that may list them; a later entry of an id wins."""
    old = read_json_if_there(directory / "added_tokens.json")
    decoder = config.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise FormatError(f"{directory}/tokenizer_config.json: added_tokens_decoder is no object")
    return [
        *({"content": text, "id": number} for text, number in old.items()),
        *added_entries(tokenizer),
        *(_decoder_entry(number, entry) for number, entry in decoder.items()),
    ]


def _decoder_entry(number: str, entry: Any) -> dict[str, Any]:
    """An entry of `added_tokens_decoder`, whose ids are keys, in digits."""
    if not isinstance(entry, dict) or not number.isascii() or not number.isdigit() or len(number) > _MAX_DIGITS:
        raise FormatError(f"tokenizer_config.json: added_tokens_decoder has {number!r}: {entry!r}")
    return {**entry, "id": int(number)}
