"""One model as a directory and as a GGUF: `tokenizers` and llama.cpp must cut every text alike, and say so alike."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.checkpoints.open import open_checkpoint
from pennyweight.checkpoints.tokenizer import tokenizer_metadata
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models.embedded import EMBEDDED, SURVEY
from pennyweight.runtimes.torch_reference.tokens import DirectoryTokens, LlamaCppTokens, Tokens, tokens_of
from tests.checkpoints.test_sentencepiece import CONFIG, trained
from tests.checkpoints.tiny_huggingface import tokenizer, write_huggingface

TEXTS = {
    "prose": b"The keeper of the harbour weighed 1,234 pounds;  nobody knew why.\n\n\tIndeed.",
    "control tokens": b"<s>a text</s> that names <|endoftext|> its <|im_start|>own control tokens",
    "an added token": b"call <tool> now",
    "not UTF-8": b"caf\xe9 \xff\xfe\xe2\x82 end \xf0\x9f",
    "decomposed": "cafe\u0301 \u1e9b\u0323 \uac01".encode(),
    "emoji and CJK": "👩‍🚀 漢字かな ЖЖ".encode(),
    "empty": b"",
}
PIECES = 1200


def pair(directory: Path, gguf: Path) -> tuple[Tokens, Tokens]:
    """The tokenizers of a directory and of its metadata written to a GGUF without weights."""
    checkpoint = open_checkpoint(str(directory))
    with GGUFWriter(gguf, checkpoint.metadata, []):
        pass
    return tokens_of(checkpoint), tokens_of(open_checkpoint(str(gguf)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokens, Tokens]:
    directory = tmp_path_factory.mktemp("tiny")
    return pair(write_huggingface(directory / "model"), directory / "tiny.gguf")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokens, Tokens]:
    return pair(EMBEDDED, tmp_path_factory.mktemp("embedded") / "embedded.gguf")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("model", ["tiny", "embedded"])
def test_a_directory_and_its_gguf_cut_a_text_alike(model: str, text: str, request: pytest.FixtureRequest) -> None:
    directory, gguf = request.getfixturevalue(model)
    assert isinstance(directory, DirectoryTokens)
    assert isinstance(gguf, LlamaCppTokens)
    np.testing.assert_array_equal(directory.tokenize(TEXTS[text]), gguf.tokenize(TEXTS[text]))


def test_the_survey_is_cut_alike(embedded: tuple[Tokens, Tokens]) -> None:
    text = SURVEY.read_bytes()
    np.testing.assert_array_equal(embedded[0].tokenize(text), embedded[1].tokenize(text))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_is_cut_alike(embedded: tuple[Tokens, Tokens], text: str) -> None:
    data = text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode("utf-8", "ignore")
    np.testing.assert_array_equal(embedded[0].tokenize(data), embedded[1].tokenize(data))


@pytest.mark.parametrize("model", ["tiny", "embedded"])
def test_the_two_name_one_vocabulary_and_bos(model: str, request: pytest.FixtureRequest) -> None:
    directory, gguf = request.getfixturevalue(model)
    assert directory.vocabulary_hash == gguf.vocabulary_hash
    assert directory.bos == gguf.bos == 0
    assert directory.tokenize(b"x")[0] == 0


@pytest.mark.parametrize("text", ["prose", "decomposed", "emoji and CJK", "empty"])
def test_sentencepiece_is_cut_by_llama_cpp_from_a_directory_too(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(trained())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(CONFIG))
    model = open_checkpoint(str(write_huggingface(tmp_path / "model")))
    kept = {key: value for key, value in model.metadata.items() if not key.startswith("tokenizer.")}
    metadata = kept | dict(tokenizer_metadata(tmp_path, PIECES, ()))
    metadata["llama.vocab_size"] = replace(metadata["llama.vocab_size"], value=PIECES)
    tokens = tokens_of(replace(model, metadata=metadata, source=str(tmp_path)))
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained())  # type: ignore[call-arg]
    assert tokens.tokenize(TEXTS[text]).tolist() == [processor.bos_id(), *processor.encode(TEXTS[text].decode())]


def test_a_tokenizer_that_ends_every_text_is_refused(tmp_path: Path) -> None:
    content = tokenizer()
    content["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    directory = write_huggingface(tmp_path / "model", tokenizer_json=content)
    with pytest.raises(UnsupportedModel, match="ends every text with EOS; perplexity is undefined"):
        tokens_of(open_checkpoint(str(directory)))


def test_a_tokenizer_that_tokenizers_cannot_read_is_refused_in_one_line(tmp_path: Path) -> None:
    directory = write_huggingface(tmp_path / "model")
    checkpoint = open_checkpoint(str(directory))
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(FormatError, match=r"tokenizer\.json: tokenizers cannot read it"):
        tokens_of(checkpoint)
