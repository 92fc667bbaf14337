"""SentencePiece's vocabulary: our reader against the sentencepiece package, llama.cpp's tokens against its tokens."""

import io
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pennyweight.checkpoints.sentencepiece import read_sentencepiece, sentencepiece_from_json
from pennyweight.checkpoints.tokenizer import tokenizer_metadata
from pennyweight.checkpoints.vocabulary import TokenType
from pennyweight.core.errors import UnsupportedModel
from tests.checkpoints.test_tokenizer import texts, vocabulary_model
from tests.checkpoints.tiny_huggingface import added
from tests.wrong_json import refusal, variations

SIZE = 1200
USER_DEFINED = (3, 4)  # behind <unk>, <s> and </s>
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
}
CONFIG = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
PREPEND = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


@cache
def trained(**changes: Any) -> bytes:
    """A tokenizer.model of SentencePiece's own, trained as Llama's was."""
    model = io.BytesIO()
    settings = LLAMA | {"vocab_size": SIZE, "user_defined_symbols": "<tool>,▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁"} | changes
    sentences = [text.replace("\n", " ").replace("\r", " ") for text in texts(800, 12, seed=1)]
    sentencepiece.SentencePieceTrainer.train(  # type: ignore[attr-defined]
        sentence_iterator=iter(sentences), model_writer=model, minloglevel=2, num_threads=1, **settings
    )
    return model.getvalue()


@cache
def as_json() -> dict[str, Any]:
    """The same tokenizer as transformers writes it into tokenizer.json: merges by the score of what they make."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained())  # type: ignore[call-arg]
    pieces = [processor.IdToPiece(number) for number in range(SIZE)]
    ids = {piece: number for number, piece in enumerate(pieces)}
    merges = [
        (processor.GetScore(number), ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, number in ids.items()
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids and number not in USER_DEFINED
    ]
    merges.sort(key=lambda merge: (-merge[0], merge[1], merge[2]))
    special = [added(i, pieces[i], special=i < 3) for i in range(5)]
    return {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": PREPEND,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "ByteFallback"},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": ids,
            "merges": [[left, right] for *_, left, right in merges],
        },
    }


def write(directory: Path, content: bytes | dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    name = "tokenizer.model" if isinstance(content, bytes) else "tokenizer.json"
    (directory / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    (directory / "tokenizer_config.json").write_text(json.dumps(CONFIG if config is None else config))
    return directory


def test_pieces_scores_and_types_are_those_that_sentencepiece_reads(tmp_path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained())  # type: ignore[call-arg]
    found = read_sentencepiece(write(tmp_path, trained()) / "tokenizer.model")
    assert len(found.tokens) == processor.vocab_size() == SIZE
    for number, token in found.tokens.items():
        assert token.score == processor.GetScore(number)
        assert (token.type is TokenType.UNKNOWN) == processor.IsUnknown(number)
        assert (token.type is TokenType.CONTROL) == processor.IsControl(number)
        assert (token.type is TokenType.BYTE) == processor.IsByte(number)
        assert (token.type is TokenType.USER_DEFINED) == (number in USER_DEFINED)
        if token.type is not TokenType.USER_DEFINED:
            assert token.text == processor.IdToPiece(number)
    assert found.tokens[4].text == " " * 16  # found in raw text, where no space is marked


@pytest.mark.slow
def test_llama_cpp_gives_sentencepieces_tokens(tmp_path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained())  # type: ignore[call-arg]
    with vocabulary_model(write(tmp_path, trained()), SIZE) as theirs:
        for text in [*texts(400, 25, seed=2), "", " ", "  two", " " * 40]:
            assert theirs.tokenize(text).tolist() == processor.encode(text), text
        assert theirs.tokenize("a", add_special=True).tolist()[0] == processor.bos_id()


@pytest.mark.slow
def test_llama_cpp_gives_the_tokens_of_a_tokenizer_json_too(tmp_path: Path) -> None:
    ours = Tokenizer.from_str(json.dumps(as_json()))
    with vocabulary_model(write(tmp_path, as_json()), SIZE) as theirs:
        for text in [*texts(400, 25, seed=3), "<tool> and <tool>"]:
            assert theirs.tokenize(text).tolist() == ours.encode(text, add_special_tokens=False).ids, text


def test_a_tokenizer_json_orders_pieces_as_the_model_it_came_from(tmp_path: Path) -> None:
    original = read_sentencepiece(write(tmp_path, trained()) / "tokenizer.model").tokens
    derived = sentencepiece_from_json(as_json()).tokens
    merged = [n for n, token in original.items() if token.type is TokenType.NORMAL and len(token.text) > 1]
    assert sorted(merged, key=lambda n: original[n].score) == sorted(merged, key=lambda n: derived[n].score)
    assert all(derived[n].type is original[n].type for n in original if original[n].type is TokenType.BYTE)


def test_the_model_file_is_preferred_and_padded(tmp_path: Path) -> None:
    write(tmp_path, as_json())
    found = dict(tokenizer_metadata(write(tmp_path, trained()), SIZE + 2, ()))
    scores = found["tokenizer.ggml.scores"].value
    assert isinstance(scores, np.ndarray)
    assert scores.dtype == np.float32
    assert scores[-2:].tolist() == [-10000.0, -10000.0]
    assert found["tokenizer.ggml.model"].value == "llama"
    assert found["tokenizer.ggml.unknown_token_id"].value == 0
    assert "tokenizer.ggml.merges" not in found


@pytest.mark.parametrize(("scheme", "prefix"), [("first", True), ("always", True), ("never", False)])
def test_a_space_in_front_follows_the_file(scheme: str, prefix: bool) -> None:
    content = as_json() | {"normalizer": None, "pre_tokenizer": METASPACE | {"prepend_scheme": scheme}}
    assert sentencepiece_from_json(content).space_prefix is prefix


def test_bos_goes_in_front_where_only_a_model_file_is_there(tmp_path: Path) -> None:
    found = dict(tokenizer_metadata(write(tmp_path, trained(), {}), SIZE, (("bos", 1), ("eos", 2))))
    assert found["tokenizer.ggml.add_bos_token"].value is True
    stated = dict(tokenizer_metadata(write(tmp_path, trained(), CONFIG | {"add_bos_token": False}), SIZE, ()))
    assert stated["tokenizer.ggml.add_bos_token"].value is False


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "unigram", "vocab_size": 600},
        {"normalization_rule_name": "nmt_nfkc"},
        {"remove_extra_whitespaces": True},
    ],
    ids=str,
)
def test_what_llama_cpp_would_tokenize_otherwise_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.model"):
        read_sentencepiece(write(tmp_path, trained(**changes)) / "tokenizer.model")


def test_merges_that_are_not_sentencepieces_are_refused() -> None:
    model = as_json()["model"]
    index = next(i for i, (left, right) in enumerate(model["merges"]) if len(left + right) > 2)
    incomplete = as_json() | {"model": model | {"merges": [m for i, m in enumerate(model["merges"]) if i != index]}}
    scattered = as_json() | {"model": model | {"merges": [*model["merges"], model["merges"][0]]}}
    for content in (incomplete, scattered):
        with pytest.raises(UnsupportedModel, match=r"SentencePiece"):
            sentencepiece_from_json(content)
    other_space = as_json() | {"normalizer": {"type": "NFKC"}}
    with pytest.raises(UnsupportedModel, match=r"NFKC.*known: Prepend"):
        sentencepiece_from_json(other_space)


def test_no_value_of_a_tokenizer_json_causes_anything_but_one_clear_line(tmp_path: Path) -> None:
    model = as_json()["model"]
    few = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 5, "b": 6, "ab": 7}
    content = as_json() | {"model": model | {"vocab": few, "merges": [["a", "b"]]}}
    refused = 0
    for path, wrong, document in variations(content):
        directory = write(tmp_path, document)
        line = refusal(partial(tokenizer_metadata, directory, 8, ()))
        refused += line is not None
        assert "\n" not in (line or ""), (path, wrong)
    assert refused > 20


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_damaged_model_file_is_refused_or_read_and_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(trained())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.getbasetemp() / "damaged.model"
    path.write_bytes(bytes(whole[:cut]) if cut % 2 else bytes(whole))
    assert "\n" not in (refusal(partial(read_sentencepiece, path)) or "")
