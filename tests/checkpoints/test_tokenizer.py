"""Byte-level BPE out of tokenizer.json: tokens, types, merges, special tokens, templates; the same ids in llama.cpp."""

import json
import random
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from pennyweight.checkpoints.tokenizer import tokenizer_metadata
from pennyweight.checkpoints.vocabulary import TokenType
from pennyweight.containers.gguf import GGUFValue, ValueType
from pennyweight.containers.gguf_writer import GGUFWriter
from pennyweight.core.errors import FormatError, UnsupportedModel
from pennyweight.models import pretokenizers
from pennyweight.models.pretokenizers import PreTokenizer
from pennyweight.runtimes.llama_cpp import Model
from tests.checkpoints.tiny_huggingface import TOKENIZER_CONFIG, TOKENIZER_TOKENS, VOCABULARY, tokenizer
from tests.wrong_json import refusal, variations

WORDS = """it's I'LL we've 'd 'S don't The THE a Z é É ñ ß ﬁ ǅ Привет МИР ж 你好 世界 日本 ひら カタ 안녕 가
مرحبا שלום हिन्दी ไทย 🚀 👩‍👩‍👧 😀 1 23 456 7890 12345678 ½ Ⅻ ٣٤ . ... !? -- / /path/to _ $ € ∑ (x) [y] "q" “q” ’s <b>
#tag @me x=1; CamelCase snake_case ABCdef ʰ ª \u200b \u0301 e\u0301"""
SPACES = (
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\t\t",
    " ",
    "  ",
    "   ",
    "     ",
    " the",
    " .",
    ", ",
    "\u00a0",
    "\u3000",
    "\u2003",
)
PIECES = (*WORDS.split(), *SPACES)


def texts(count: int, longest: int, seed: int, without: tuple[str, ...] = ()) -> list[str]:
    """Random texts of awkward pieces; characters beyond ASCII of the categories in `without` are left out."""
    rng = random.Random(seed)

    def kept(piece: str) -> bool:
        return all(c < "\x80" or not unicodedata.category(c).startswith(without) for c in piece) if without else True

    pieces = [piece for piece in PIECES if kept(piece)]
    return ["".join(rng.choices(pieces, k=rng.randint(1, longest))) for _ in range(count)]


def write(directory: Path, content: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG if config is None else config))
    return directory


def read(directory: Path, size: int = VOCABULARY, ids: tuple[tuple[str, int], ...] = ()) -> dict[str, Any]:
    """Plain values by key, without the common prefix."""
    found = dict(tokenizer_metadata(directory, size, ids))
    return {key.removeprefix("tokenizer.").removeprefix("ggml."): value.value for key, value in found.items()}


def vocabulary_model(directory: Path, size: int) -> Model:
    """The directory's tokenizer in llama.cpp, without any weights."""
    architecture = ("general.architecture", GGUFValue.scalar(ValueType.STRING, "llama"))
    metadata = dict([architecture, *tokenizer_metadata(directory, size, ())])
    with GGUFWriter(directory / "vocabulary.gguf", metadata, []):
        pass
    return Model.load(directory / "vocabulary.gguf", vocabulary_only=True)


def trained(known: PreTokenizer) -> Tokenizer:
    """A tokenizer whose merges were learned across all boundaries, so that a cut in another place shows in the ids."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=alphabet, show_progress=False, special_tokens=["<s>"]
    )
    found.train_from_iterator(texts(1000, 12, seed=1), trainer)
    steps: dict[str, Any] = {
        pretokenizers.BYTES: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        pretokenizers.GPT2_WORDS: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        pretokenizers.DIGITS: pre_tokenizers.Digits(individual_digits=True),
    }
    splits = [steps.get(step) or pre_tokenizers.Split(Regex(step), "isolated") for step in known.steps]
    found.pre_tokenizer = pre_tokenizers.Sequence(splits)
    found.decoder = decoders.ByteLevel()
    content = json.loads(found.to_str())
    content["model"]["ignore_merges"] = known.ignore_merges
    return Tokenizer.from_str(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("known", pretokenizers.ALL, ids=lambda known: known.label)
def test_llama_cpp_cuts_text_as_tokenizers_does(known: PreTokenizer, tmp_path: Path) -> None:
    ours = trained(known)
    ours.save(str(tmp_path / "tokenizer.json"))
    assert read(tmp_path, ours.get_vocab_size())["pre"] == known.label
    with vocabulary_model(tmp_path, ours.get_vocab_size()) as theirs:
        for text in texts(400, 25, seed=2, without=known.differs):
            assert theirs.tokenize(text).tolist() == ours.encode(text, add_special_tokens=False).ids, text


@pytest.mark.slow
@pytest.mark.parametrize("known", [k for k in pretokenizers.ALL if k.differs], ids=lambda known: known.label)
def test_what_the_table_says_of_differences_is_still_so(known: PreTokenizer, tmp_path: Path) -> None:
    """Should llama.cpp learn to cut these as well, the note in the table has to go."""
    ours = trained(known)
    ours.save(str(tmp_path / "tokenizer.json"))
    with vocabulary_model(tmp_path, ours.get_vocab_size()) as theirs:
        everything = texts(400, 25, seed=2)
        differing = [
            t for t in everything if theirs.tokenize(t).tolist() != ours.encode(t, add_special_tokens=False).ids
        ]
    assert differing


@pytest.mark.slow
def test_special_tokens_are_added_and_found_as_tokenizers_does_it(tmp_path: Path) -> None:
    ours = Tokenizer.from_str(json.dumps(tokenizer()))
    with vocabulary_model(write(tmp_path, tokenizer()), VOCABULARY) as theirs:
        for text in ("plain", "", "a<tool>b  <tool>", "the rain in Spain isn't", " é"):
            assert theirs.tokenize(text, add_special=True).tolist() == ours.encode(text).ids, text
        assert theirs.detokenize(theirs.tokenize("isn't <tool> it, then?")) == "isn't <tool> it, then?"


@pytest.mark.slow
def test_llama_cpp_does_not_compose_characters_as_nfc_would(tmp_path: Path) -> None:
    """The one difference that every Qwen file has. Should llama.cpp learn it, the note in the table has to go."""
    ours = Tokenizer.from_str(json.dumps(tokenizer()))
    with vocabulary_model(write(tmp_path, tokenizer()), VOCABULARY) as theirs:
        assert ours.encode("e\u0301").ids == ours.encode("é").ids == theirs.tokenize("é", add_special=True).tolist()
        assert theirs.tokenize("e\u0301").tolist() != theirs.tokenize("é").tolist()


def test_tokens_are_in_order_typed_and_padded(tmp_path: Path) -> None:
    found = read(write(tmp_path, tokenizer()))
    tokens, types = list(found["tokens"]), [TokenType(kind) for kind in found["token_type"]]
    assert len(tokens) == len(types) == VOCABULARY
    assert tokens[:2] == ["<s>", "</s>"]
    assert tokens[TOKENIZER_TOKENS :: VOCABULARY - TOKENIZER_TOKENS - 1] == ["<tool>", f"[PAD{VOCABULARY - 1}]"]
    assert types[:3] == [TokenType.CONTROL, TokenType.CONTROL, TokenType.NORMAL]
    assert types[TOKENIZER_TOKENS] is TokenType.USER_DEFINED
    assert set(types[TOKENIZER_TOKENS + 1 :]) == {TokenType.UNUSED}
    assert found["merges"][0] == "Ġ e"
    assert "scores" not in found


def test_merges_of_both_spellings_are_read_alike(tmp_path: Path) -> None:
    pairs = tokenizer()["model"]["merges"]
    new = read(write(tmp_path / "new", tokenizer()))
    old = read(write(tmp_path / "old", tokenizer(merges=[" ".join(pair) for pair in pairs])))
    assert list(new["merges"]) == list(old["merges"])


def test_tokens_that_look_special_are_control_tokens_whatever_their_entry_says(tmp_path: Path) -> None:
    content = tokenizer()
    content["added_tokens"].append({"id": 301, "content": "<|im_start|>", "special": False})
    config = TOKENIZER_CONFIG | {"added_tokens_decoder": {"302": {"content": "<extra>", "special": True}}}
    found = read(write(tmp_path, content, config))
    assert list(found["tokens"])[301:303] == ["<|im_start|>", "<extra>"]
    assert [TokenType(kind) for kind in found["token_type"][301:303]] == [TokenType.CONTROL] * 2


def test_special_ids_come_from_the_tokenizer_and_else_from_the_config(tmp_path: Path) -> None:
    found = read(
        write(tmp_path, tokenizer()), ids=(("bos", 7), ("pad", 9), ("eos", 8), ("sep", VOCABULARY), ("cls", 5))
    )
    assert (found["bos_token_id"], found["eos_token_id"], found["padding_token_id"]) == (0, 1, 9)
    assert "seperator_token_id" not in found


@pytest.mark.parametrize(
    ("processor", "config", "expected"),
    [
        (None, {}, (False, False)),
        (None, {"add_bos_token": True, "add_eos_token": True}, (True, True)),
        ({"type": "ByteLevel"}, {"add_bos_token": True}, (False, False)),
        ({"type": "Sequence", "processors": [{"type": "ByteLevel"}, "template"]}, {}, (True, True)),
    ],
)
def test_whether_bos_and_eos_are_added_is_always_said(
    processor: Any, config: dict[str, Any], expected: tuple[bool, bool], tmp_path: Path
) -> None:
    content = tokenizer()
    if isinstance(processor, dict) and "processors" in processor:
        template = content["post_processor"]
        template["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
        processor = {"type": "Sequence", "processors": [processor["processors"][0], template]}
    content["post_processor"] = processor
    found = read(write(tmp_path, content, TOKENIZER_CONFIG | config))
    assert (found["add_bos_token"], found["add_eos_token"]) == expected


def test_tokens_around_a_text_that_are_not_bos_and_eos_are_refused(tmp_path: Path) -> None:
    content = tokenizer()
    content["post_processor"]["single"].append({"SpecialToken": {"id": "<tool>", "type_id": 0}})
    with pytest.raises(UnsupportedModel, match=r"adds \['<tool>'\] to a text; llama\.cpp can add the one EOS token"):
        read(write(tmp_path, content))
    content["post_processor"]["single"] = [{"Sequence": {"id": "A"}}, *content["post_processor"]["single"]]
    with pytest.raises(FormatError, match=r"wanted text A once"):
        read(write(tmp_path, content))


def test_the_token_that_the_template_adds_is_bos_where_no_file_names_one(tmp_path: Path) -> None:
    assert read(write(tmp_path, tokenizer(), {"eos_token": "</s>"}))["bos_token_id"] == 0
    nameless = tokenizer() | {"post_processor": None}
    with pytest.raises(FormatError, match=r"adds BOS to a text, but no file says which"):
        read(write(tmp_path, nameless, {"add_bos_token": True}))


def test_a_space_in_front_of_byte_level_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"add_prefix_space is true"):
        read(write(tmp_path, tokenizer(), TOKENIZER_CONFIG | {"add_prefix_space": True}))
    assert (
        read(write(tmp_path, tokenizer(), TOKENIZER_CONFIG | {"add_prefix_space": False}))["add_space_prefix"] is False
    )


def test_chat_templates_are_found_in_each_of_their_places(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]
    found = read(write(tmp_path / "list", tokenizer(), TOKENIZER_CONFIG | {"chat_template": named}))
    assert (found["chat_template"], found["chat_template.tool_use"]) == ("D", "T")
    assert list(found["chat_templates"]) == ["tool_use"]
    plain = {key: value for key, value in TOKENIZER_CONFIG.items() if key != "chat_template"}
    directory = write(tmp_path / "file", tokenizer(), plain)
    assert "chat_template" not in read(directory)
    (directory / "chat_template.json").write_text('{"chat_template": "J"}')
    assert read(directory)["chat_template"] == "J"
    (directory / "chat_template.jinja").write_text("{# é #}", encoding="utf-8")
    assert read(directory)["chat_template"] == "{# é #}"


def test_an_unknown_split_is_shown_with_the_labels_that_are_known(tmp_path: Path) -> None:
    content = tokenizer()
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|\p{N}{2}"
    with pytest.raises(UnsupportedModel, match=r"p\{L\}\+\|.*known: llama-bpe, smaug-bpe, qwen2") as error:
        read(write(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "Unigram"},
        {"type": "WordPiece"},
        {"end_of_word_suffix": "</w>"},
        {"dropout": 0.1},
        {"ignore_merges": True},
    ],
)
def test_models_that_llama_cpp_does_not_have_are_refused(model: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json"):
        read(write(tmp_path, tokenizer(**model)))


def test_two_tokens_with_one_text_are_refused_for_llama_cpp_would_abort(tmp_path: Path) -> None:
    content = tokenizer()
    content["added_tokens"].append({"id": 305, "content": "<tool>"})
    with pytest.raises(FormatError, match=r"tokens 300 and 305 .* both '<tool>'"):
        read(write(tmp_path, content))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_no_value_of_a_file_causes_anything_but_one_clear_line(name: str, tmp_path: Path) -> None:
    content = {key: value for key, value in tokenizer().items() if key not in ("version", "decoder")}
    content["model"] |= {"vocab": {"a": 2, "b": 3, "ab": 4}, "merges": [["a", "b"]]}
    directory, refused = write(tmp_path, content), 0
    for path, wrong, document in variations(json.loads((directory / name).read_text())):
        (directory / name).write_text(json.dumps(document))
        line = refusal(partial(tokenizer_metadata, directory, VOCABULARY, ()))
        refused += line is not None
        assert "\n" not in (line or ""), (path, wrong)
    assert refused > (30 if name == "tokenizer.json" else 0)
