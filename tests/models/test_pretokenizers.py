"""Pre-tokenizers by structure. (That llama.cpp cuts as the labels promise is tested with the tokenizers.)"""

from typing import Any

import pytest

from pennyweight.core.errors import UnsupportedModel
from pennyweight.models.pretokenizers import ALL, LLAMA3, QWEN2, identify

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
V3 = (
    "\\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)  # DeepSeek-V3's, whose file has the line ends themselves
GPT2 = {"type": "ByteLevel", "add_prefix_space": False}


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*steps: dict[str, Any], key: str = "pretokenizers") -> dict[str, Any]:
    return {"type": "Sequence", key: list(steps)}


def test_labels_and_structures_are_each_there_once() -> None:
    assert len({known.label for known in ALL}) == len(ALL)
    assert len({(known.steps, known.ignore_merges) for known in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("label", "normalizer", "pre_tokenizer", "ignore_merges"),
    [
        ("llama-bpe", None, sequence(split(LLAMA3), BYTES), True),
        ("smaug-bpe", None, sequence(split(LLAMA3), BYTES), False),
        ("qwen2", {"type": "NFC"}, sequence(split(QWEN2), BYTES), False),
        ("qwen2", None, sequence(split(QWEN2, "Removed", True), BYTES), False),
        ("qwen2", sequence({"type": "NFC"}, key="normalizers"), sequence(sequence(split(QWEN2)), BYTES), False),
        ("deepseek-v3", sequence(key="normalizers"), sequence(*map(split, V3), BYTES), False),
        ("gpt-2", None, GPT2, False),
        ("gpt-2", None, sequence(GPT2), False),
        ("smollm", None, sequence({"type": "Digits", "individual_digits": True}, GPT2), False),
    ],
)
def test_structures_as_real_files_spell_them_are_known(
    label: str, normalizer: Any, pre_tokenizer: Any, ignore_merges: bool
) -> None:
    assert identify(normalizer, pre_tokenizer, ignore_merges).label == label


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "ignore_merges"),
    [
        ({"type": "NFC"}, sequence(split(LLAMA3), BYTES), True),
        ({"type": "NFKC"}, sequence(split(QWEN2), BYTES), False),
        (None, sequence(split(QWEN2), BYTES), True),
        (None, sequence(split(QWEN2, invert=True), BYTES), False),
        (None, sequence(split(QWEN2, "Removed"), BYTES), False),
        (None, sequence(split("a|b", "Removed", True), BYTES), False),
        (None, sequence(split(QWEN2)), False),
        (None, sequence(split(QWEN2), GPT2), False),
        (None, GPT2 | {"add_prefix_space": True}, False),
        (None, sequence({"type": "Digits", "individual_digits": False}, GPT2), False),
        (None, {"type": "Whitespace"}, False),
        (None, None, False),
        (None, {"type": "Sequence"}, False),
        ("NFC", 7, False),
    ],
)
def test_anything_else_is_refused_and_not_guessed(normalizer: Any, pre_tokenizer: Any, ignore_merges: bool) -> None:
    with pytest.raises(UnsupportedModel, match=r"no pre-tokenizer known with splits .*known: llama-bpe") as error:
        identify(normalizer, pre_tokenizer, ignore_merges)
    assert "\n" not in str(error.value)
